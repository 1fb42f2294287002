"""The table of file formats, and `write_checked`: write, read back, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from stars.errors import ConfigError, FormatError
from stars.graph.spiking_graph import SpikingGraph


@dataclass(frozen=True)
class Backend:
    """One file format.

    Args:
        writer: "module:function" that takes (graph, path); imported on first use.
        reader: "module:function" that returns the graph; None if the format cannot be
            read back.
        output: name of the file or folder in a run's artifacts.
        description: one line.
        options: names of the writer's other parameters.
    """

    writer: str
    reader: str | None
    output: str
    description: str
    options: frozenset[str] = frozenset()


BACKENDS: Mapping[str, Backend] = {
    "nir": Backend(
        writer="export.to_nir:write",
        reader="export.from_nir:read",
        output="student.nir",
        description="NIR (HDF5), with dt, steps, encoding and exact decays",
    ),
    "lava": Backend(
        writer="export.to_lava:write",
        reader=None,
        output="lava",
        description="a folder for Lava: the network, its integers and golden vectors",
    ),
    "onnx": Backend(
        writer="export.to_onnx:write",
        reader=None,
        output="student.onnx",
        description="ONNX with the time loop inside; int8 weights on the grid",
        options=frozenset({"form", "record"}),
    ),
}


def backend(name: str) -> Backend:
    """The format of this name.

    Raises:
        ConfigError: the name is unknown; lists the known ones.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown format '{name}'; there are {', '.join(BACKENDS)}")
    return BACKENDS[name]


def write_checked(name: str, graph: SpikingGraph, path: Path, **options: Any) -> None:
    """Write `graph` in one format, read it back if the format allows, and compare.

    Args:
        name: a key of `BACKENDS`.
        graph: to write.
        path: of the file or folder.
        options: for the writer; see the format's row.

    Raises:
        ConfigError: the format or an option is unknown.
        UnsupportedNodeError: the format cannot express some nodes.
        FormatError: the format cannot hold a name or text, or the graph that was read
            back differs.
    """
    row = backend(name)
    if unknown := sorted(options.keys() - row.options):
        raise ConfigError(
            f"format '{name}' has no {', '.join(unknown)};"
            f" it has {', '.join(sorted(row.options)) or 'no options'}"
        )
    function(row.writer)(graph, path, **options)
    if row.reader is not None and function(row.reader)(path) != graph:
        raise FormatError(
            f"'{path}': the graph that was read back differs from the one written; this"
            " is a bug, please report it"
        )


def function(place: str) -> Callable[..., Any]:
    """The function at "module:name"."""
    found: Callable[..., Any] = resolve_name(place)
    return found
