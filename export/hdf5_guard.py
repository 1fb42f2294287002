"""Reads untrusted HDF5 files in a separate process that may crash or hang.

libhdf5 is not safe for hostile files: one changed byte can crash or hang the process
that opens the file. So a fork of a small server (`export/hdf5_tree.py`) opens each
file, with limits of time and memory. It returns only numbers and text, never objects.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from export import hdf5_tree
from stars.errors import FormatError

SECONDS = 4  # time limit of any file
BYTES_A_SECOND = 5e6  # adds one second for each 5 MB
OUT_OF_TIME = {-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL}


def read_guarded(path: Path) -> dict[str, Any]:
    """All groups of an HDF5 file as dicts, its datasets as arrays, numbers and texts.

    Raises:
        FormatError: the file is missing, damaged or not HDF5; it crashes or hangs the
            library; or it refers to other files, or declares more than it can hold.
    """
    if not path.is_file():
        raise FormatError("no such file")
    seconds = SECONDS + int(path.stat().st_size / BYTES_A_SECOND)
    with tempfile.TemporaryDirectory(prefix="stars-hdf5-") as folder:
        code = server(os.getpid()).ask([str(path.resolve()), folder, seconds])
        return result_of(code, Path(folder), seconds)


def result_of(code: int, folder: Path, seconds: int) -> dict[str, Any]:
    """The result that a reading process with exit code `code` left in `folder`.

    Raises:
        FormatError: it did not finish reading the file.
    """
    if code in OUT_OF_TIME:
        raise FormatError(f"damaged: reading it took longer than {seconds} s")
    if code != 0:
        raise FormatError(f"damaged: it crashes the HDF5 library (exit code {code})")
    result = json.loads((folder / "tree.json").read_bytes())
    if "error" in result:
        raise FormatError(result["error"])
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        return {k: filled(v, arrays) for k, v in result["tree"].items()}


def filled(tree: Any, arrays: Any) -> Any:
    """A tree with its array numbers replaced by arrays; see `export/hdf5_tree.py`."""
    if isinstance(tree, str):
        return tree
    if isinstance(number := tree.get("array"), int):
        return arrays[f"arr_{number}"][()]
    if isinstance(texts := tree.get("texts"), list):
        return np.array(texts, dtype=object).reshape(tree["shape"])
    return {name: filled(value, arrays) for name, value in tree.items()}


class Server:
    """A process that runs `export/hdf5_tree.py`; restarted if it ends."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, request: list[Any]) -> int:
        """The exit code of the fork that handled `request`.

        Raises:
            FormatError: the server itself ended.
        """
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self.process = started()
            stdin, stdout = self.process.stdin, self.process.stdout
            if stdin is None or stdout is None:
                raise FormatError("the process that reads HDF5 has no pipes")
            try:
                stdin.write(json.dumps(request).encode() + b"\n")
                stdin.flush()
                return int(stdout.readline())
            except (OSError, ValueError) as error:
                self.process.kill()
                raise FormatError(
                    f"the process that reads HDF5 ended ({error}); check free memory"
                ) from error

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.communicate()


def started() -> subprocess.Popen[bytes]:
    """A new server process, with one thread so that it can fork."""
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(hdf5_tree.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C must not reach it
    )


@cache
def server(process: int) -> Server:  # noqa: ARG001 - each fork needs its own
    """The server of the process with this id."""
    return Server()
