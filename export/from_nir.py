"""NIR -> SpikingGraph: exact for files of this toolchain, strict for all others.

A file of this toolchain holds dt, T, encoding and node order in its metadata. Any other
file lacks dt and T, so the caller must pass them; nothing is guessed. A primitive or a
parameter that no node can represent raises. Nested graphs are flattened
(`export.nir_nested`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import nir
import numpy as np

from export.hdf5_guard import read_guarded
from export.nir_metadata import UNREADABLE, Metadata, decay_ratios
from export.nir_nested import flatten, primitives, unchecked
from stars.errors import FormatError, GraphError, UnsupportedNodeError
from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Affine,
    Array,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLI,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    Scale,
    SumPool2d,
    Threshold,
)
from stars.graph.spiking_graph import SpikingGraph

WIDEST = 2**12  # pixels of padding at most


def read(
    path: Path, *, dt: float | None = None, steps: int | None = None
) -> SpikingGraph:
    """The graph in a NIR file.

    Args:
        path: HDF5 file, of this toolchain or of another tool.
        dt: seconds per step; required if the file has none, else it must be equal.
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
    nir_graph: nir.NIRGraph, *, dt: float | None = None, steps: int | None = None
) -> SpikingGraph:
    """`nir_graph` as a SpikingGraph; arguments and errors as in `read`."""
    nir_graph = flatten(nir_graph)
    check_primitives({n: type(v).__name__ for n, v in nir_graph.nodes.items()})
    said = Metadata(nir_graph.metadata)
    seconds = said.dt(dt)
    nodes = nodes_from_nir(nir_graph, said.order(nir_graph), seconds)
    try:
        graph = SpikingGraph(
            nodes=nodes,
            edges=tuple((str(a), str(b)) for a, b in nir_graph.edges),
            dt=seconds,
            steps=said.steps(steps),
            encoding=said.encoding(),
            metadata=said.text(),
        )
    except GraphError as error:
        raise FormatError(str(error)) from error
    said.check_delayed(graph)
    check_claims(graph, nir_graph)
    return graph


def nodes_from_nir(
    nir_graph: nir.NIRGraph, names: Iterable[str], dt: float
) -> dict[str, Node]:
    """All nodes by name, in the order of `names`.

    Raises:
        FormatError: names every node that cannot be represented, and why.
    """
    nodes: dict[str, Node] = {}
    wrong = []
    for name in names:
        node = nir_graph.nodes[name]
        try:
            nodes[name] = FROM_NIR[type(node)](node, dt)
        except (GraphError, FormatError, *UNREADABLE) as error:
            wrong.append(f"node {name!r}: {error}")
    if wrong:
        raise FormatError("; ".join(wrong))
    return nodes


def check_claims(graph: SpikingGraph, nir_graph: nir.NIRGraph) -> None:
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
        if isinstance(ours, LIF | LI) and "k" in node.metadata:
            exact = decay_ratios(graph.dt, ours)
            if str(node.metadata["k"]) != json.dumps(exact):
                raise FormatError(
                    f"node {name!r}: dt / tau is {exact}, but its metadata state"
                    f" {node.metadata['k']}; tau or dt was changed after the export"
                )


def claimed_shape(node: nir.NIRNode) -> tuple[int, ...]:
    """The input shape that a node states; () if it states none."""
    flat = isinstance(node, nir.Flatten)
    shape = node.input_type["input"] if flat else node.input_shape
    return () if shape is None else tuple(int(n) for n in np.atleast_1d(shape))


def both(value: Any, name: str) -> tuple[int, int]:
    """One or two integers as (vertical, horizontal)."""
    numbers = [int(n) for n in np.atleast_1d(value)]
    if len(numbers) not in {1, 2} or not np.array_equal(numbers, np.atleast_1d(value)):
        raise FormatError(f"{name} is {value}, expected one or two integers")
    return numbers[0], numbers[-1]


def one(value: Any, name: str) -> int:
    """An integer, or the only entry of an array."""
    both_ends = both(value, name)
    if both_ends[0] != both_ends[1] or np.size(value) != 1:
        raise FormatError(f"{name} is {value}, expected one integer")
    return both_ends[0]


def _input(node: nir.Input, _: float) -> Input:
    return Input(tuple(int(n) for n in node.input_type["input"]))


def _output(_: nir.Output, __: float) -> Output:
    return Output()


def _linear(node: nir.Linear, _: float) -> Affine:
    return Affine(node.weight, np.zeros(len(node.weight)))


def _conv1d(node: nir.Conv1d, _: float) -> Conv1d:
    stride, dilation = one(node.stride, "stride"), one(node.dilation, "dilation")
    weight, padding = np.asarray(node.weight, dtype=np.float64), 0
    if not isinstance(node.padding, str):
        padding = one(node.padding, "padding")
    elif node.padding == "same":
        wide, (_, padding), (_, dilation) = same_padding(
            weight[:, :, None], (1, stride), (1, dilation)
        )
        weight = wide[:, :, 0]
    return Conv1d(weight, node.bias, stride, padding, dilation, int(node.groups))


def _conv2d(node: nir.Conv2d, _: float) -> Conv2d:
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
    """(Weight, padding, dilation) of the same map with symmetric padding.

    padding = "same" adds d (k - 1) zeros along each axis, an odd one at the end. If
    that number is odd, the dilation is written out as zero taps (and becomes 1), and
    one more zero tap goes in front. Then both ends need the same padding.

    Raises:
        FormatError: the stride is not 1, where "same" is not defined, or the padding is
            too wide.
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
    """`weight` with the dilation along `axis` written out, after one zero tap."""
    taps = weight.shape[axis]
    shape = list(weight.shape)
    shape[axis] = dilation * (taps - 1) + 2
    dense = np.zeros(shape)
    place: list[slice | range] = [slice(None)] * 4
    place[axis] = slice(1, None, dilation)
    dense[tuple(place)] = weight
    return dense


def _sum_pool2d(node: nir.SumPool2d, _: float) -> SumPool2d:
    return SumPool2d(*_window(node))


def _avg_pool2d(node: nir.AvgPool2d, _: float) -> AvgPool2d:
    return AvgPool2d(*_window(node))


def _window(
    node: nir.SumPool2d | nir.AvgPool2d,
) -> tuple[tuple[int, int], tuple[int, int]]:
    padding = both(node.padding, "padding")
    if padding != (0, 0):
        raise FormatError(f"pools with padding {padding}; only padding 0 is supported")
    return both(node.kernel_size, "kernel_size"), both(node.stride, "stride")


def _flatten(node: nir.Flatten, _: float) -> Flatten:
    shape = node.input_type["input"]
    last = {-1} if shape is None else {-1, len(shape) - 1}
    if int(node.start_dim) != 0 or int(node.end_dim) not in last:
        raise FormatError(
            f"flattens axes {node.start_dim} to {node.end_dim}; only all axes (0 to -1)"
            " are supported, because shapes in NIR have no batch axis"
        )
    return Flatten()


def _delay(node: nir.Delay, dt: float) -> Delay:
    return Delay.of_seconds(node.delay, dt)


def same_fields(kind: type[Node]) -> Callable[[nir.NIRNode, float], Node]:
    """The conversion of a primitive that has the same fields as the node."""
    names = tuple(field.name for field in fields(kind))
    return lambda node, _: kind(**{name: getattr(node, name) for name in names})


def leaky(kind: type[LIF | CubaLIF]) -> Callable[[nir.NIRNode, float], Node]:
    """As `same_fields`, with the membrane's step from the metadata, if it is there."""
    names = [field.name for field in fields(kind) if field.name != "membrane_step"]

    def convert(node: nir.NIRNode, _: float) -> Node:
        step = node.metadata.get("membrane_step")
        values = {name: getattr(node, name) for name in names}
        return kind(**values, membrane_step=None if step is None else float(step))

    return convert


# Each entry takes a primitive of its own type, which the type cannot express.
FROM_NIR: Mapping[type[nir.NIRNode], Callable[[Any, float], Node]] = {
    nir.Input: _input,
    nir.Output: _output,
    nir.Affine: same_fields(Affine),
    nir.Linear: _linear,
    nir.Conv1d: _conv1d,
    nir.Conv2d: _conv2d,
    nir.SumPool2d: _sum_pool2d,
    nir.AvgPool2d: _avg_pool2d,
    nir.Flatten: _flatten,
    nir.Scale: same_fields(Scale),
    nir.Delay: _delay,
    nir.Threshold: same_fields(Threshold),
    nir.IF: same_fields(IF),
    nir.LIF: leaky(LIF),
    nir.CubaLIF: leaky(CubaLIF),
    nir.LI: same_fields(LI),
    nir.CubaLI: same_fields(CubaLI),
    nir.I: same_fields(Integrator),
}
