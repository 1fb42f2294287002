"""The table of file formats, and `write_checked`: write, read back, compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from stars.errors import ConfigError, FormatError, guess
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
        options: names of the other parameters, of `rewrite` or else of the writer.
        rewrite: "module:function" that takes (graph, **options) and returns the graph
            to write; None writes the graph as it is.
    """

    writer: str
    reader: str | None
    output: str
    description: str
    options: frozenset[str] = frozenset()
    rewrite: str | None = None


BACKENDS: Mapping[str, Backend] = {
    "nir": Backend(
        writer="export.to_nir:write",
        reader="export.from_nir:read",
        output="student.nir",
        description="NIR (HDF5), with dt, steps, encoding and exact decays",
        options=frozenset({"dt", "convention"}),
        rewrite="export.nir_time:for_reader",
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
        description="ONNX with the time loop inside",
        options=frozenset({"form", "opset", "record"}),
    ),
    "c": Backend(
        writer="export.c.folder:write",
        reader=None,
        output="c",
        description="a folder of portable C99: the network, its input and a self-test",
        options=frozenset({"name", "rates", "kernels"}),
    ),
}


ENDINGS: Mapping[str, str] = {".nir": "nir", ".onnx": "onnx", "": "lava"}


def write(
    graph: SpikingGraph,
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    **options: Any,
) -> None:
    """Write a graph in the format that `target` or the path's ending names.

    >>> import export
    >>> export.write(student.graph, "student.onnx", form="step")  # doctest: +SKIP

    Args:
        graph: to write; a Lava bundle and C need it on the grid.
        path: ".nir", ".onnx", or a folder without an ending for the Lava bundle.
        target: a key of `BACKENDS`, such as "c" for a folder of C; None reads the
            ending.
        options: of ONNX: form ("scan", "step" or "unroll"), opset and record. Of NIR:
            dt, to which time constants are rescaled, and convention. Of C: name, rates
            and kernels, see `export.c.folder.write`.

    Raises:
        ConfigError: another target or ending, or an option that the format lacks.
        UnsupportedNodeError: nodes that the format cannot express.
        GraphError, LimitError: the graph is not on the grid, or does not fit the chip.
        MissingDependencyError: a package for the format is not installed.
        DataError: the path cannot be written.
    """
    file = Path(path)
    if target is None and file.suffix not in ENDINGS:
        raise ConfigError(
            f"'{file}': no format has the ending {file.suffix!r}; allowed are"
            f" {', '.join(filter(None, ENDINGS))}, or none for a Lava bundle"
        )
    write_checked(target or ENDINGS[file.suffix], graph, file, **options)


def read(
    path: str | os.PathLike[str],
    *,
    dt: float | str | None = None,
    steps: int | None = None,
) -> SpikingGraph:
    """The graph in a NIR file.

    Args:
        path: of the file.
        dt: seconds a step, for a file that does not say it; or "auto", see
            `export.from_nir.read`.
        steps: T, for a file that does not say it; else it takes precedence.

    Raises:
        FormatError: no such file, foreign or damaged.
        GraphError: dt or steps is missing, or the network cannot run.
        UnsupportedNodeError: primitives that have no node here.
    """
    graph: SpikingGraph = function("export.from_nir:read")(
        Path(path), dt=dt, steps=steps
    )
    return graph


def backend(name: str) -> Backend:
    """The format of this name.

    Raises:
        ConfigError: the name is unknown; lists the known ones.
    """
    if name not in BACKENDS:
        raise ConfigError(
            f"unknown format '{name}'{guess(name, BACKENDS)}; there are"
            f" {', '.join(BACKENDS)}"
        )
    return BACKENDS[name]


def write_checked(
    name: str, graph: SpikingGraph, path: Path, /, **options: Any
) -> None:
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
    if row.rewrite is not None:
        graph, options = function(row.rewrite)(graph, **options), {}
    function(row.writer)(graph, path, **options)
    if row.reader is not None and function(row.reader)(path) != graph:
        raise FormatError(
            f"'{path}': the graph that was read back differs from the one written; this"
            " is a bug, please report it"
        )


def check_out(name: str, path: Path, *, force: bool) -> None:
    """Check that a format may be written to a path that a user gave.

    Args:
        name: a key of `BACKENDS`.
        path: of the file or folder.
        force: whether it may exist.

    Raises:
        ConfigError: its ending is not that of the format, it is a folder where a file
            is written or the reverse, or it exists.
    """
    backend(name)
    ending = next(ending for ending, one in ENDINGS.items() if one == name)
    if path.suffix != ending:
        allowed = f"the ending {ending}" if ending else "no ending: it is a folder"
        raise ConfigError(f"'{path}': format '{name}' has {allowed}; change --out")
    if path.exists() and path.is_dir() == bool(ending):
        raise ConfigError(
            f"'{path}' is a {'folder' if ending else 'file'}; format '{name}' writes a"
            f" {'file' if ending else 'folder'}; give another --out"
        )
    if path.exists() and not force:
        raise ConfigError(f"'{path}' exists; give another --out, or --force")


def function(place: str) -> Callable[..., Any]:
    """The function at "module:name"."""
    found: Callable[..., Any] = resolve_name(place)
    return found
