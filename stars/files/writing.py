"""Writes files atomically: a reader never sees a partial file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stars.errors import DataError, FormatError
from stars.files.json_toml import parse_json


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced and renamed to `path`.

    Raises:
        DataError: the folder cannot be created or written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
        os.close(handle)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Check, before the work, that files can be written to a folder, present or not.

    Raises:
        DataError: they cannot.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write to '{folder}': {error.strerror}; choose another folder, or"
            " change its permissions"
        ) from error


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk, so that a rename survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system supports it
            os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove_halves(folder: Path) -> None:
    """Remove the temporary files that killed processes left in or below a folder."""
    for path in folder.rglob(".*"):
        if re.fullmatch(r"\..+(\.\w+)\.\w{8}\1", path.name):
            path.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        FormatError: the file is missing, is not JSON, or holds no object.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"'{path}': {error.strerror}") from error
    except ValueError as error:
        raise FormatError(f"'{path}': damaged, not JSON ({error})") from error
    if not isinstance(value, dict):
        raise FormatError(f"'{path}': holds a {type(value).__name__}, not an object")
    return value


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
