"""The finished run that ships with STARS: a student of the bundled teacher."""

from __future__ import annotations

import logging
import tarfile
import tempfile
from pathlib import Path

from stars.data.images import read_asset
from stars.errors import DataError

log = logging.getLogger(__name__)

NAME = "fashion-mnist-student"
ASSET = "fashion_mnist_student.tar.xz"


def unpack_bundled(path: Path) -> None:
    """Unpack the bundled run to `path` if its last part is NAME and nothing is there.

    Raises:
        DataError: the folder cannot be written, or the bundled file was changed.
    """
    if path.name != NAME or path.exists():
        return
    with read_asset(ASSET) as file, tarfile.open(fileobj=file, mode="r:xz") as archive:
        try:
            # All or nothing: another process may unpack the same run.
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                archive.extractall(folder, filter="data")
                (Path(folder) / NAME).rename(path)
        except OSError as error:
            if path.is_dir():
                return
            raise DataError(
                f"cannot unpack the bundled run to '{path}': {error}"
            ) from error
    log.warning("'%s': unpacked the finished run that ships with stars", path)
