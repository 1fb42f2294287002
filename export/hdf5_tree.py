"""Reads an HDF5 file into plain values; as a program, a server that forks.

An untrusted file may make libhdf5 crash, hang or fill the memory, so only a disposable
process opens one; see `export/hdf5_guard.py`. This module imports only numpy and h5py
and runs from its own path, so it starts quickly.

As a program it reads requests from stdin, one JSON list per line:

    [path, folder, seconds]    a fork reads `path` and writes into `folder`
                                 arrays.npz   the arrays, by number
                                 tree.json    {"tree": ...} or {"error": text}
    answer: the fork's exit code; negative for the signal that ended it

A tree has one JSON object per group. Its leaves are text, {"array": number}, or, for an
array of text, {"texts": [...], "shape": [...]}.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

MEMORY = 2 * 2**30  # bytes of address space of one reading process
CONTENT = 2**29  # bytes that all datasets of a file may hold
SLACK = 2**12  # bytes that a dataset may hold even if none is stored
RATIO = 1040  # bytes per stored byte; deflate expands at most 1032 times
DEPTH = 32  # groups within groups
OBJECTS = 100_000
GZIP, SHUFFLE, FLETCHER32, SZIP, LZF = 1, 2, 3, 4, 32000
FILTERS = {GZIP, SHUFFLE, FLETCHER32, SZIP, LZF}  # others load a plug-in
NUMBERS = "biuf"

# h5py raises these on damaged files.
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError, ArithmeticError)

Arrays = list[NDArray[Any]]


class RefusedError(ValueError):
    """The file holds something that is not read from untrusted files."""


def read_tree(path: str) -> tuple[dict[str, Any], Arrays]:
    """(Tree, arrays) of all groups and datasets in a file.

    Raises:
        RefusedError: the file is not HDF5; it has links, data outside the file, or data
            that is neither numbers nor text; or it exceeds a limit.
        DAMAGE, MemoryError: the file is damaged.
    """
    if not h5py.is_hdf5(path):
        raise RefusedError("not an HDF5 file")
    with h5py.File(path, "r") as file:
        reading = Reading()
        return reading.group(file, 0), reading.arrays


class Reading:
    """The data read from one file so far, checked against the limits."""

    def __init__(self) -> None:
        self.arrays: Arrays = []
        self.bytes = 0
        self.objects = 0
        self.groups: set[int] = set()

    def group(self, group: h5py.Group, depth: int) -> dict[str, Any]:
        """The tree of a group and everything below it."""
        address = h5py.h5o.get_info(group.id).addr
        if address in self.groups or depth > DEPTH:
            raise RefusedError(f"group {group.name!r} contains itself, or is too deep")
        self.groups.add(address)
        tree: dict[str, Any] = {}
        for name in group:
            name.encode()  # raises ValueError here, not when a message is printed
            self.objects += 1
            if self.objects > OBJECTS:
                raise RefusedError(f"more than {OBJECTS} objects")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RefusedError(
                    f"{name!r} is a link, which may point outside the file"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                tree[name] = self.group(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                tree[name] = self.dataset(item)
            else:
                raise RefusedError(f"{name!r} is neither a group nor a dataset")
        return tree

    def dataset(self, dataset: h5py.Dataset) -> Any:
        """The text of a dataset, or the number of its array."""
        self.check(dataset)
        value = dataset[()]
        if dataset.dtype.kind in NUMBERS:
            self.arrays.append(np.asarray(value))
            return {"array": len(self.arrays) - 1}
        if dataset.shape == ():
            return text(value)
        texts = [text(entry) for entry in value.reshape(-1)]
        return {"texts": texts, "shape": list(value.shape)}

    def check(self, dataset: h5py.Dataset) -> None:
        """Raise if a dataset leaves the file, loads code or allocates too much."""
        kind, made = dataset.dtype, dataset.id.get_create_plist()
        if dataset.is_virtual or made.get_external_count():
            raise RefusedError(f"{dataset.name!r} keeps its data in another file")
        filters = {made.get_filter(i)[0] for i in range(made.get_nfilters())}
        if not filters <= FILTERS:
            raise RefusedError(
                f"{dataset.name!r} needs the filters {filters - FILTERS}"
            )
        if kind.kind not in NUMBERS and h5py.check_string_dtype(kind) is None:
            raise RefusedError(f"{dataset.name!r} holds {kind}, not numbers or text")
        if dataset.shape is None:
            raise RefusedError(f"{dataset.name!r} holds nothing")
        stored = dataset.id.get_storage_size()
        size = kind.itemsize * math.prod(dataset.shape)
        chunk = kind.itemsize * math.prod(dataset.chunks or ())
        self.bytes += size
        if max(self.bytes, chunk) > CONTENT or size > RATIO * stored + SLACK:
            raise RefusedError(
                f"{dataset.name!r} declares {size} bytes, {stored} are stored; a file"
                f" may hold {CONTENT} bytes in all"
            )


def text(value: Any) -> str:
    """The text that h5py returned."""
    return value.decode() if isinstance(value, bytes) else str(value)


def answer(path: str, folder: Path) -> None:
    """Read `path` and write its content, or the error, into `folder`."""
    try:
        tree, arrays = read_tree(path)
        np.savez(folder / "arrays.npz", *arrays)
        result: dict[str, Any] = {"tree": tree}
    except RefusedError as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"error": f"damaged: reading it takes more than {MEMORY} bytes"}
    except DAMAGE as error:
        result = {"error": f"damaged ({type(error).__name__}: {error})"}
    (folder / "tree.json").write_text(json.dumps(result))


def limit(seconds: int) -> None:
    """Limit the time and memory of this process."""
    bounds = {
        resource.RLIMIT_AS: MEMORY,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 2 * CONTENT,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        # macOS ignores some of these; the alarm below works everywhere.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (bound, bound))
    signal.alarm(seconds)


def serve() -> None:
    """Answer requests until stdin ends, each in its own fork."""
    for line in sys.stdin.buffer:
        path, folder, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            limit(seconds)
            answer(path, Path(folder))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.buffer.write(b"%d\n" % code)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
