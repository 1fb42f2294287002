"""NIR -> SpikingGraph: our own files exactly, other people's where nothing is guessed.

A file that we wrote says dt, T, encoding and order in its metadata. In any other file
dt and T are missing and must be passed; whatever a node of ours cannot keep is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

from export.hdf5_guard import read_guarded
from export.nir_metadata import UNREADABLE, Metadata, decay_ratios
from stars.errors import FormatError, GraphError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.nodes import (
    LIF,
    Affine,
    Array,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    SumPool2d,
)

WIDEST = 2**12  # pixels of padding that are written out


def read(
    path: Path, *, dt: float | None = None, steps: int | None = None
) -> SpikingGraph:
    """The graph in a NIR file.

    Args:
        path: HDF5 file, of ours or of another tool.
        dt: seconds a step; needed when the file does not say, refused when it differs.
        steps: T; needed when the file does not say, else it takes precedence.

    Raises:
        FormatError: no such file, foreign, damaged, or something is missing.
        UnsupportedNodeError: primitives that have no node here, all of them.
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
    """The NIR graph in a file, unchecked but for its primitives' names.

    Raises:
        FormatError: no such file, no HDF5, no NIR, or damaged.
        UnsupportedNodeError: primitives that have no node here, all of them.
    """
    tree = read_guarded(path)
    try:
        content = tree["node"]
        check_primitives({n: str(v["type"]) for n, v in content["nodes"].items()})
        return nir.dict2NIRNode({**content, "type_check": False})
    except UnsupportedNodeError:
        raise
    except UNREADABLE as error:
        raise FormatError(
            f"not a NIR graph, or damaged ({type(error).__name__}: {error})"
        ) from error


def check_primitives(kinds: Mapping[str, str]) -> None:
    """Refuse primitives, given by node name, that the table below does not hold."""
    supported = sorted(kind.__name__ for kind in FROM_NIR)
    unknown = {name: kind for name, kind in kinds.items() if kind not in supported}
    if unknown:
        raise UnsupportedNodeError(f"no node for {unknown}; supported are {supported}")


def from_nir(
    nir_graph: nir.NIRGraph, *, dt: float | None = None, steps: int | None = None
) -> SpikingGraph:
    """`nir_graph` as a SpikingGraph; arguments and errors as in `read`."""
    check_primitives({n: type(v).__name__ for n, v in nir_graph.nodes.items()})
    said = Metadata(nir_graph.metadata)
    nodes = {
        name: node_from_nir(name, nir_graph.nodes[name])
        for name in said.order(nir_graph)
    }
    try:
        graph = SpikingGraph(
            nodes=nodes,
            edges=tuple((str(a), str(b)) for a, b in nir_graph.edges),
            dt=said.dt(dt),
            steps=said.steps(steps),
            encoding=said.encoding(),
            metadata=said.text(),
        )
    except GraphError as error:
        raise FormatError(str(error)) from error
    check_claims(graph, nir_graph)
    return graph


def node_from_nir(name: str, node: nir.NIRNode) -> Node:
    """One node, with its name in every error."""
    try:
        return FROM_NIR[type(node)](node)
    except (GraphError, FormatError, *UNREADABLE) as error:
        raise FormatError(f"node {name!r}: {error}") from error


def check_claims(graph: SpikingGraph, nir_graph: nir.NIRGraph) -> None:
    """Hold what the file says twice against itself: shapes and k = dt / tau."""
    for name, node in nir_graph.nodes.items():
        ours = graph.nodes[name]
        if isinstance(node, nir.Conv2d | nir.Flatten):
            before = graph.shapes[graph.predecessors(name)[0]]
            claimed = claimed_shape(node)
            if claimed and claimed != before[-len(claimed) :]:
                raise FormatError(
                    f"node {name!r}: says its input is {claimed}, but it gets {before}"
                )
        if isinstance(ours, LIF) and "k" in node.metadata:
            exact = decay_ratios(graph.dt, ours)
            if str(node.metadata["k"]) != json.dumps(exact):
                raise FormatError(
                    f"node {name!r}: dt / tau is {exact}, its metadata say"
                    f" {node.metadata['k']}; tau or dt was changed after the export"
                )


def claimed_shape(node: nir.NIRNode) -> tuple[int, ...]:
    """The input shape that a node states, () when it states none."""
    shape = (
        node.input_shape if isinstance(node, nir.Conv2d) else node.input_type["input"]
    )
    return () if shape is None else tuple(int(n) for n in np.atleast_1d(shape))


def both(value: Any, name: str) -> tuple[int, int]:
    """An integer or two, as (vertical, horizontal)."""
    numbers = [int(n) for n in np.atleast_1d(value)]
    if len(numbers) not in {1, 2} or not np.array_equal(numbers, np.atleast_1d(value)):
        raise FormatError(f"{name} is {value}, expected one or two integers")
    return numbers[0], numbers[-1]


def _input(node: nir.Input) -> Input:
    return Input(tuple(int(n) for n in node.input_type["input"]))


def _output(_: nir.Output) -> Output:
    return Output()


def _affine(node: nir.Affine) -> Affine:
    return Affine(node.weight, node.bias)


def _linear(node: nir.Linear) -> Affine:
    return Affine(node.weight, np.zeros(len(node.weight)))


def _conv2d(node: nir.Conv2d) -> Conv2d:
    stride, dilation = both(node.stride, "stride"), both(node.dilation, "dilation")
    weight, padding = np.asarray(node.weight, dtype=np.float64), (0, 0)
    if not isinstance(node.padding, str):
        padding = both(node.padding, "padding")
    elif node.padding == "same":
        weight, padding, dilation = same_padding(weight, stride, dilation)
    return Conv2d(weight, node.bias, stride, padding, dilation, int(node.groups))


def same_padding(
    weight: Array, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Array, tuple[int, int], tuple[int, int]]:
    """(weight, padding, dilation) of the same map with symmetric padding.

    padding = "same" puts d (k - 1) zeros around each axis, the odd one at the end. When
    that number is odd, the taps are written out (dilation 1) and a tap of zero goes in
    front of them: then both ends need the same padding.

    Raises:
        FormatError: a stride other than 1, for which "same" is not defined.
    """
    if stride != (1, 1):
        raise FormatError(f"padding 'same' needs stride 1, found {stride}")
    paddings, dilations = [], []
    for axis, d in ((2, dilation[0]), (3, dilation[1])):
        total = d * (weight.shape[axis] - 1)
        if not 0 <= total < WIDEST:
            raise FormatError(f"padding 'same' with dilation {d} would pad {total} px")
        if total % 2:
            weight = with_leading_zero(weight, axis, d)
        paddings.append((total + 1) // 2)
        dilations.append(1 if total % 2 else d)
    return weight, (paddings[0], paddings[1]), (dilations[0], dilations[1])


def with_leading_zero(weight: Array, axis: int, dilation: int) -> Array:
    """`weight` with its dilation written out along `axis`, one zero tap in front."""
    taps = weight.shape[axis]
    shape = list(weight.shape)
    shape[axis] = dilation * (taps - 1) + 2
    dense = np.zeros(shape)
    place: list[slice | range] = [slice(None)] * 4
    place[axis] = slice(1, None, dilation)
    dense[tuple(place)] = weight
    return dense


def _sum_pool2d(node: nir.SumPool2d) -> SumPool2d:
    return SumPool2d(*_window(node))


def _avg_pool2d(node: nir.AvgPool2d) -> AvgPool2d:
    return AvgPool2d(*_window(node))


def _window(
    node: nir.SumPool2d | nir.AvgPool2d,
) -> tuple[tuple[int, int], tuple[int, int]]:
    padding = both(node.padding, "padding")
    if padding != (0, 0):
        raise FormatError(f"pooling with padding {padding}; only 0 can be kept")
    return both(node.kernel_size, "kernel_size"), both(node.stride, "stride")


def _flatten(node: nir.Flatten) -> Flatten:
    shape = node.input_type["input"]
    last = {-1} if shape is None else {-1, len(shape) - 1}
    if int(node.start_dim) != 0 or int(node.end_dim) not in last:
        raise FormatError(
            f"flattens axes {node.start_dim} to {node.end_dim}; only all axes (0 to -1)"
            " can be kept: shapes in NIR have no batch axis"
        )
    return Flatten()


def _lif(node: nir.LIF) -> LIF:
    return LIF(node.tau, node.r, node.v_leak, node.v_threshold, node.v_reset)


def _integrator(node: nir.I) -> Integrator:
    return Integrator(node.r)


# Each entry takes a primitive of its own type; the table's type cannot say so.
FROM_NIR: Mapping[type[nir.NIRNode], Callable[[Any], Node]] = {
    nir.Input: _input,
    nir.Output: _output,
    nir.Affine: _affine,
    nir.Linear: _linear,
    nir.Conv2d: _conv2d,
    nir.SumPool2d: _sum_pool2d,
    nir.AvgPool2d: _avg_pool2d,
    nir.Flatten: _flatten,
    nir.LIF: _lif,
    nir.I: _integrator,
}
