"""Reads untrusted .npy and .npz files: no pickled objects, and bounded memory."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from stars.errors import FormatError

ALWAYS = 2**28  # bytes that any archive may unpack to
PER_BYTE = 20  # more bytes for each byte of the archive
HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}

# zipfile, zlib and numpy raise these on damage: numpy parses a header as Python.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    SyntaxError,
    TokenError,
    ArithmeticError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name.

    Raises:
        FormatError: the file is missing, damaged or no .npz, holds pickled objects, or
            declares more data than it can hold.
    """
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): member(archive, info)
                for info in archive.infolist()
            }
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(f"'{path}': not a readable .npz ({error})") from error


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        FormatError: as `read_npz`.
    """
    try:
        with path.open("rb") as file:
            return read_array(file, path.stat().st_size)
    except DAMAGE as error:
        raise FormatError(f"'{path}': not a readable .npy ({error})") from error


def check_archive(path: Path) -> None:
    """Raise if an archive unpacks to too much, or uses an unknown compression.

    The limit is 256 MiB plus 20 bytes for each byte of the archive.

    Raises:
        FormatError: the size or the compression is not allowed.
        DAMAGE: the archive is damaged, or no archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(info.file_size for info in members)
    limit = ALWAYS + PER_BYTE * path.stat().st_size
    if size > limit:
        raise FormatError(
            f"'{path}': unpacks to {size:,} bytes; at most {limit:,} are allowed"
        )
    ways = {info.compress_type for info in members}
    if not ways <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise FormatError(f"'{path}': its compression {sorted(ways)} is not supported")


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of an archive."""
    with archive.open(info) as file:
        return read_array(file, info.file_size)


def read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """The array in `size` bytes; its header is checked against the size first.

    Raises:
        ValueError: it holds objects or records, or declares more data than there is.
    """
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(
            f"version {version} of .npy is not supported; only records need it"
        )
    shape, _, kind = HEADERS[version](file)
    if kind.hasobject or kind.kind == "V":
        raise ValueError(f"holds {kind}; only numbers and text are allowed")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize > size:
        raise ValueError(f"claims {kind} {shape} in {size} bytes")
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array
