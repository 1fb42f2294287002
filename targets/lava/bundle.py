"""Checks every file of a Lava bundle against the network that it should be.

The bundle is written again, with the golden inputs that it holds, and compared value
by value, because the bytes of HDF5 and zip files depend on versions of libraries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.from_nir import read
from export.hdf5_guard import read_guarded
from export.to_lava import fill
from stars.errors import FormatError, StarsError
from stars.files.json_toml import parse_json
from stars.files.npz import read_npz
from stars.files.writing import read_json, sha256
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import input_violation, lower
from targets.inputs import inputs_for

# The version that wrote the manifest, and the NIR file.
WRITER = ("stars", "node/metadata/stars/version")
LONGEST_TEXT = 80  # characters of a value in a message
NAMED = 6  # differences in a message


def check_bundle(folder: Path, graph: SpikingGraph, *, any_steps: bool = False) -> None:
    """Refuse a bundle in which a file, a value or a golden vector is not the network's.

    Args:
        folder: the bundle.
        graph: the network that it should be.
        any_steps: whether the bundle may have another number of steps.

    Raises:
        FormatError: names the first differences, or the file that cannot be read.
    """
    try:
        if any_steps:
            graph = replace(graph, steps=read(folder / "student.nir").steps)
        inputs = golden_inputs(folder / "golden.npz", graph)
        with tempfile.TemporaryDirectory(prefix="stars-bundle-") as temporary:
            fill(Path(temporary), graph, lower(graph), inputs)
            found = list(differences(folder, Path(temporary)))
    except StarsError as error:
        found = [str(error)]
    if found:
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise FormatError(
            f"Lava bundle '{folder}' is not that of the network:"
            f" {'; '.join(found[:NAMED])}{more}; export it again with 'stars export"
            " --target lava'"
        )


def golden_inputs(path: Path, graph: SpikingGraph) -> Array:
    """The inputs of the golden vectors, [T, B, *input shape].

    Raises:
        FormatError: unreadable, or not inputs that the graph's certificate is for.
        DataError: another type or shape.
    """
    values = read_npz(path).get("inputs")
    if values is None or values.dtype != np.float64 or not values.size:
        raise FormatError(f"{path.name}: expected 'inputs', float64 [T, B, ...]")
    inputs = inputs_for(graph, values, path.name).take(0, values.shape[1])
    if violation := input_violation(graph, inputs):
        raise FormatError(f"{path.name}: {violation}")
    return inputs


def differences(folder: Path, expected: Path) -> Iterator[str]:
    """A text for each value in which the files of a bundle differ from expected ones.

    Raises:
        FormatError: a file cannot be read.
    """
    names = {path.name for path in expected.iterdir()}
    if missing := sorted(n for n in names if not (folder / n).is_file()):
        yield f"{', '.join(missing)} is missing"
        return
    if "net.net" not in names and (folder / "net.net").exists():
        yield "net.net is not part of it"
    for name in sorted(names):
        yield from differing(name, folder, expected)


def differing(name: str, folder: Path, expected: Path) -> Iterator[str]:
    """The same for one file."""
    here, there = (dict(leaves(content(side / name))) for side in (folder, expected))
    if name == "manifest.json":  # its checksums are those of the files beside it
        files = [key for key in there if key.startswith("files/")]
        there |= {key: sha256(folder / key.removeprefix("files/")) for key in files}
    for key in sorted(here.keys() | there.keys()):
        found, wanted = here.get(key), there.get(key)
        if key not in WRITER and not equal(found, wanted):
            yield (f"{name}: {key} is {shortened(found)}, expected {shortened(wanted)}")


def content(path: Path) -> dict[str, Any]:
    """The values in a file of a bundle, in nested dicts and lists.

    Raises:
        FormatError: the file cannot be read.
    """
    if path.suffix == ".json":
        return read_json(path)
    try:
        if path.suffix in (".nir", ".net"):
            return read_guarded(path)
        if path.suffix == ".npz":
            arrays: dict[str, Any] = read_npz(path)
            if "header" in arrays:  # of a plan
                arrays["header"] = parse_json(str(arrays["header"]))
            return arrays
        lines = enumerate(path.read_bytes().splitlines(), 1)
        return {f"line {number}": line for number, line in lines}
    except (FormatError, OSError, ValueError) as error:
        raise FormatError(f"{path.name}: {error}") from error


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in nested dicts and lists."""
    if not isinstance(value, dict | list) or not value:
        yield name, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(part, f"{name}/{key}" if name else str(key))


def equal(one: Any, other: Any) -> bool:
    """Whether two values have the same type, shape and content."""
    if isinstance(one, np.ndarray | np.generic):
        same = type(one) is type(other) and one.dtype == other.dtype
        return bool(same and np.array_equal(one, other))
    return type(one) is type(other) and bool(one == other)


def shortened(value: Any) -> str:
    """The value as text, cut to a line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
