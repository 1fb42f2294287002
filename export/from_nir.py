"""NIR -> SpikingGraph: exact for files of this toolchain, strict for all others.

A file of this toolchain holds dt, T, encoding and node order in its metadata. Any other
file lacks dt and T, so the caller must pass them; dt may be "auto", which reads it from
the parameters of writers that show it (`export.nir_time`). A primitive or a parameter
that no node can represent raises. Nested graphs are flattened (`export.nir_nested`),
and parameters that a writer broadcast get their full shape (`export.nir_shapes`).
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nir
import numpy as np

from export.hdf5_guard import read_guarded
from export.nir_metadata import UNREADABLE, Metadata, decay_ratios
from export.nir_nested import flatten, primitives, unchecked
from export.nir_nodes import FROM_NIR, Place, input_shape
from export.nir_time import doubts, written_dt
from stars.errors import FormatError, GraphError, UnsupportedNodeError
from stars.graph.nodes import LI, LIF, Node, Shape
from stars.graph.spiking_graph import SpikingGraph

log = logging.getLogger(__name__)


def read(
    path: Path, *, dt: float | str | None = None, steps: int | None = None
) -> SpikingGraph:
    """The graph in a NIR file; logs a warning if its dt cannot be what was meant.

    Args:
        path: HDF5 file, of this toolchain or of another tool.
        dt: seconds per step; required if the file has none, else it must be equal.
            "auto" takes the dt that the parameters of the file show.
        steps: T; required if the file has none, else it overrides the file's.

    Raises:
        FormatError: the file is missing, damaged or not NIR, or a value is missing.
        UnsupportedNodeError: some primitives have no node here; names all of them.
    """
    try:
        return from_nir(load(path), dt=dt, steps=steps)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    except UnsupportedNodeError as error:
        raise UnsupportedNodeError(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise FormatError(
            f"{path}: damaged ({type(error).__name__}: {error})"
        ) from error


def load(path: Path) -> nir.NIRGraph:
    """The NIR graph in a file; only the names of its primitives are checked.

    Raises:
        FormatError: the file is missing, damaged, not HDF5 or not NIR.
        UnsupportedNodeError: some primitives have no node here; names all of them.
    """
    tree = read_guarded(path)
    try:
        content = tree["node"]
        check_primitives(primitives(content))
        return nir.dict2NIRNode(unchecked(content))
    except UnsupportedNodeError:
        raise
    except UNREADABLE as error:
        raise FormatError(
            f"not a NIR graph, or damaged ({type(error).__name__}: {error})"
        ) from error


def check_primitives(kinds: Mapping[str, str]) -> None:
    """Raise if `FROM_NIR` lacks a primitive; `kinds` is by node name."""
    supported = sorted(kind.__name__ for kind in FROM_NIR)
    unknown = {name: kind for name, kind in kinds.items() if kind not in supported}
    if unknown:
        raise UnsupportedNodeError(f"no node for {unknown}; supported are {supported}")


def from_nir(
    nir_graph: nir.NIRGraph, *, dt: float | str | None = None, steps: int | None = None
) -> SpikingGraph:
    """`nir_graph` as a SpikingGraph; arguments and errors as in `read`."""
    nir_graph = flatten(nir_graph)
    check_primitives({n: type(v).__name__ for n, v in nir_graph.nodes.items()})
    said = Metadata(nir_graph.metadata)
    seconds = said.dt(chosen_dt(nir_graph, dt, said))
    graph = without_batch_axis(Reading(nir_graph, said, seconds, said.steps(steps)))
    said.check_delayed(graph)
    for doubt in doubts(graph, ours=said.ours):
        log.warning("%s", doubt)
    return graph


def chosen_dt(
    nir_graph: nir.NIRGraph, dt: float | str | None, said: Metadata
) -> float | None:
    """`dt` as a number; "auto" is the one of our file, or of another tool's parameters.

    Raises:
        FormatError: it is another word, or the parameters do not show the writer's dt.
    """
    if not isinstance(dt, str):
        return dt
    if dt != "auto":
        raise FormatError(f"dt is {dt!r}; allowed are seconds per step, or 'auto'")
    if said.ours:
        return None
    seconds, reason = written_dt(nir_graph)
    log.warning("dt = %g s, because %s", seconds, reason)
    return seconds


@dataclass(frozen=True)
class Reading:
    """A NIR graph without nested graphs, and what is known about its time."""

    nir_graph: nir.NIRGraph
    said: Metadata
    dt: float
    steps: int

    def graph(self, *, batch: bool = False) -> SpikingGraph:
        """The graph; with `batch`, without the first axis of its input.

        Raises:
            FormatError: names every node that cannot be represented, and why.
        """
        nodes = nodes_from_nir(self.nir_graph, self.said, self.dt, batch=batch)
        try:
            graph = SpikingGraph(
                nodes=nodes,
                edges=tuple((str(a), str(b)) for a, b in self.nir_graph.edges),
                dt=self.dt,
                steps=self.steps,
                encoding=self.said.encoding(),
                metadata=self.said.text(),
            )
        except GraphError as error:
            raise FormatError(str(error)) from error
        check_claims(graph, self.nir_graph, self.said)
        return graph


def without_batch_axis(reading: Reading) -> SpikingGraph:
    """The graph that is read; without the first axis of its input if only that fits.

    Exporters that trace a batch of samples leave its axis in Input.

    Raises:
        FormatError: as in `Reading.graph`; names the axis if it may be a batch.
    """
    try:
        return reading.graph()
    except FormatError as error:
        inputs = [n for n, v in reading.nir_graph.nodes.items() if is_batched(v)]
        if reading.said.ours or not inputs:
            raise
        shape = input_shape(reading.nir_graph.nodes[inputs[0]])
        where = f"node {inputs[0]!r}: the first axis of its shape {shape}"
        try:
            graph = reading.graph(batch=True)
        except FormatError:
            if len(shape) == 3 and shape[0] != 1:
                raise error from None
            raise FormatError(
                f"{error}; {where} may be a batch, which NIR shapes do not have"
            ) from error
        log.warning(
            "%s is a batch, because no node after it accepts it; it is left out",
            where,
        )
        return graph


def is_batched(node: nir.NIRNode) -> bool:
    """Whether a node is an Input whose first axis may be a batch."""
    return isinstance(node, nir.Input) and len(input_shape(node)) > 1


def nodes_from_nir(
    nir_graph: nir.NIRGraph, said: Metadata, dt: float, *, batch: bool
) -> dict[str, Node]:
    """All nodes by name, in the order of declaration.

    Nodes are read along the edges, because a neuron's parameters may need the shape of
    its input.

    Raises:
        FormatError: names every node that cannot be represented, and why.
    """
    names = said.order(nir_graph)
    nodes: dict[str, Node] = {}
    wrong: dict[str, str] = {}
    starts = [n for n in names if isinstance(nir_graph.nodes[n], nir.Input)]
    waiting = deque[tuple[str, Shape | None]]((n, ()) for n in starts)
    waiting += [(n, None) for n in names]  # nodes that no edge leads to come last
    while waiting:
        name, shape = waiting.popleft()
        if name in nodes or name in wrong:
            continue
        node = nir_graph.nodes[name]
        place = Place(dt, shape, said.of_node(node), batch)
        try:
            nodes[name] = FROM_NIR[type(node)](node, place)
            after = nodes[name].output_shape(shape or ())
        except (GraphError, FormatError, *UNREADABLE) as error:
            if name not in nodes:
                wrong[name] = f"node {name!r}: {error}"
            continue
        waiting.extendleft(
            (str(b), after) for a, b in nir_graph.edges if str(a) == name
        )
    if wrong:
        raise FormatError("; ".join(wrong[name] for name in names if name in wrong))
    return {name: nodes[name] for name in names}


def check_claims(graph: SpikingGraph, nir_graph: nir.NIRGraph, said: Metadata) -> None:
    """Raise if a file contradicts itself in its shapes or in k = dt / tau."""
    for name, node in nir_graph.nodes.items():
        ours = graph.nodes[name]
        if isinstance(node, nir.Conv1d | nir.Conv2d | nir.Flatten):
            before = graph.shapes[graph.predecessors(name)[0]]
            claimed = claimed_shape(node)
            if claimed and claimed != before[-len(claimed) :]:
                raise FormatError(
                    f"node {name!r}: states input shape {claimed}, but gets {before}"
                )
        stated = said.of_node(node).get("k")
        if isinstance(ours, LIF | LI) and stated is not None:
            exact = decay_ratios(graph.dt, ours)
            if str(stated) != json.dumps(exact):
                raise FormatError(
                    f"node {name!r}: dt / tau is {exact}, but its metadata state"
                    f" {stated}; tau or dt was changed after the export"
                )


def claimed_shape(node: nir.NIRNode) -> tuple[int, ...]:
    """The input shape that a node states; () if it states none."""
    flat = isinstance(node, nir.Flatten)
    shape = node.input_type["input"] if flat else node.input_shape
    return () if shape is None else tuple(int(n) for n in np.atleast_1d(shape))
