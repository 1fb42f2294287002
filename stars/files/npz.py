"""Reading .npy and .npz of strangers: no objects, no more than the file can hold."""

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

ALWAYS = 2**28  # bytes that any archive may unpack to, ...
PER_BYTE = 20  # ... and as many more for every byte that it has itself
HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}

# What zipfile, zlib and numpy raise on a damaged file: numpy parses a header as Python.
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
        FormatError: no such file, not an .npz, damaged, holds objects, or claims more
            than it can hold.
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
    """Refuse an archive that unpacks to too much, or in a way that we do not use.

    Raises:
        FormatError: it does; one byte of it may become 20, and 256 MiB are always free.
        DAMAGE: no archive, or damaged.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size = sum(info.file_size for info in members)
    limit = ALWAYS + PER_BYTE * path.stat().st_size
    if size > limit:
        raise FormatError(
            f"'{path}': unpacks to {size} bytes, allowed for its size are {limit}"
        )
    ways = {info.compress_type for info in members}
    if not ways <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise FormatError(f"'{path}': packed in an unknown way {sorted(ways)}")


def member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of an archive."""
    with archive.open(info) as file:
        return read_array(file, info.file_size)


def read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """The array in `size` bytes, whose header is held against them first.

    Raises:
        ValueError: objects or records, or values that are not in the file.
    """
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of .npy, which only records need")
    shape, _, kind = HEADERS[version](file)
    if kind.hasobject or kind.kind == "V":
        raise ValueError(f"holds {kind}: neither numbers nor texts")
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize > size:
        raise ValueError(f"claims {kind} {shape} in {size} bytes")
    file.seek(0)
    array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array
