"""Composes every chain of maps between two populations into one exact sparse matrix.

A convolution is unrolled into one row per output neuron. Nothing is rounded: all values
are integers times powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array

from stars.errors import GraphError, LimitError
from stars.graph.nodes import (
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Flatten,
    Input,
    Map,
    Neuron,
    Node,
    Output,
    Scale,
    Shape,
    SumPool2d,
    Weighted,
)
from stars.graph.nodes.conv import windows
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.exact import Dyadic, Integers, add, dyadic, product

MAX_ENTRIES = 2**25  # of one unrolled product; building it takes about 1 GB


@dataclass(frozen=True, eq=False)
class Linear:
    """A node's value as a linear function of populations: sum of parts @ x + bias.

    Args:
        parts: sparse matrices [N, N source], by name of a population or the input.
        bias: [N].
    """

    parts: Mapping[str, Dyadic]
    bias: Dyadic


def compose(graph: SpikingGraph) -> dict[str, tuple[Linear, ...]]:
    """For each neuron node, one Linear for each edge into it, in order.

    Raises:
        GraphError: values are off the grid; names every such node.
        LimitError: an unrolled product has more than `MAX_ENTRIES` entries.
        UnsupportedNodeError: nodes have no unrolled form; names all of them.
    """
    populations = {type(graph.neuron(n)) for n in graph.neurons}
    graph.check_supported(
        {Input, Output, *UNROLL, *populations}, "synapses: no unrolled form"
    )
    check_on_grid(graph)
    # A population's value is its own spikes, also for nodes before it in a cycle.
    values = {
        name: itself(name, math.prod(graph.shapes[name]))
        for name in (graph.input, *graph.neurons)
    }
    arriving: dict[str, tuple[Linear, ...]] = {}
    for name in graph.order:
        node = graph.nodes[name]
        edges = tuple(values[p] for p in graph.predecessors(name))
        if isinstance(node, Map):
            shape = graph.shapes[graph.predecessors(name)[0]]
            values[name] = through(name, node, total(edges), shape)
        elif isinstance(node, Neuron):
            arriving[name] = edges
    return arriving


def check_on_grid(graph: SpikingGraph) -> None:
    """Raise if weights or biases of a map are not integers times a power of two.

    Raises:
        GraphError: has one line for each such node.
    """
    wrong = []
    for name in graph.order:
        node = graph.nodes[name]
        try:
            if isinstance(node, Weighted):
                dyadic(node.weight, "weight")
                dyadic(node.bias, "bias")
            elif isinstance(node, Scale):
                dyadic(node.scale, "scale")
            elif isinstance(node, SumPool2d):
                dyadic(np.array(node.scale), "scale")
        except GraphError as error:
            wrong.append(f"node {name!r}: {error}")
    if wrong:
        raise GraphError(
            "the graph is not on the grid ('stars quantize' puts it there):\n  "
            + "\n  ".join(wrong)
        )


def itself(name: str, size: int) -> Linear:
    """The identity: a population's value is its own spikes."""
    return Linear({name: Dyadic(identity(size), 0)}, nothing(size))


def total(values: tuple[Linear, ...]) -> Linear:
    """The sum of linear functions; parts of the same source are added."""
    first, *rest = values
    for other in rest:
        parts = dict(first.parts)
        for source, part in other.parts.items():
            parts[source] = add(parts[source], part) if source in parts else part
        first = Linear(parts, add(first.bias, other.bias))
    return first


def through(name: str, node: Map, x: Linear, shape: Shape) -> Linear:
    """The value of a map whose input is `x`, of shape `shape`."""
    try:
        unrolled, bias = unroll(node, shape)
        parts = {
            source: times(unrolled, part).reduced() for source, part in x.parts.items()
        }
        carried = product(unrolled.mantissas, x.bias.mantissas)
    except LimitError as error:
        raise LimitError(f"node {name!r}", error.violations) from error
    through_bias = Dyadic(carried, unrolled.exponent + x.bias.exponent)
    return Linear(parts, add(through_bias, bias).reduced())


def times(left: Dyadic, right: Dyadic) -> Dyadic:
    """The exact product of two sparse matrices; raises before memory runs out."""
    lengths = np.diff(right.mantissas.indptr)
    check_entries(int(lengths[left.mantissas.indices].sum()))
    matrix = csr_array(product(left.mantissas, right.mantissas))
    matrix.eliminate_zeros()
    return Dyadic(matrix, left.exponent + right.exponent)


def check_entries(count: int) -> None:
    """Raise if a product would not fit in memory.

    Raises:
        LimitError: more than `MAX_ENTRIES` entries.
    """
    if count > MAX_ENTRIES:
        raise LimitError(
            "unrolled product",
            [f"{count:,} entries, at most {MAX_ENTRIES:,}: reduce channels or pixels"],
        )


def unroll(node: Map, shape: Shape) -> tuple[Dyadic, Dyadic]:
    """(Sparse matrix [N out, N in], bias [N out]) of a map on inputs of `shape`.

    Raises:
        LimitError: more than `MAX_ENTRIES` entries.
    """
    return UNROLL[type(node)](node, shape)


def unroll_affine(node: Affine, _: Shape) -> tuple[Dyadic, Dyadic]:
    """The weight matrix itself, sparse."""
    check_entries(node.weight.size)
    weight = dyadic(node.weight, "weight")
    sparse = Dyadic(csr_array(weight.mantissas), weight.exponent)
    return sparse, dyadic(node.bias, "bias")


def unroll_conv(node: Conv2d, shape: Shape) -> tuple[Dyadic, Dyadic]:
    """One row per output neuron, one entry per pixel under its kernel."""
    out, height, width = node.output_shape(shape)
    fan_in = node.weight[0].size
    check_entries(out * height * width * fan_in)
    (py, px), groups = node.padding, node.groups
    places = np.pad(positions(shape), ((0, 0), (py, py), (px, px)), constant_values=-1)
    view = windows(places[None], node.kernel, node.stride, node.dilation)[0]
    # [g, C/g, H', W', kh, kw] -> [g, 1, H', W', C/g, kh, kw], alike for all outputs
    view = view.reshape(groups, 1, -1, *view.shape[1:]).transpose(0, 1, 3, 4, 2, 5, 6)
    weight = dyadic(node.weight, "weight")
    kernels = weight.mantissas.reshape(
        groups, out // groups, 1, 1, *node.weight.shape[1:]
    )
    full = np.broadcast_shapes(view.shape, kernels.shape)
    columns = np.broadcast_to(view, full).reshape(-1, fan_in)
    data = np.broadcast_to(kernels, full).reshape(-1, fan_in)
    matrix = sparse_rows(columns, data, int(np.prod(shape)))
    bias = dyadic(node.bias, "bias")
    each = np.repeat(bias.mantissas, height * width)
    return Dyadic(matrix, weight.exponent), Dyadic(each, bias.exponent)


def unroll_conv1d(node: Conv1d, shape: Shape) -> tuple[Dyadic, Dyadic]:
    """The matrix of a convolution of height 1."""
    return unroll_conv(node.flat(), (shape[0], 1, shape[1]))


def unroll_scale(node: Scale, _: Shape) -> tuple[Dyadic, Dyadic]:
    """A diagonal matrix."""
    factors = dyadic(node.scale.ravel(), "scale")
    size = len(factors.mantissas)
    places = np.arange(size)[:, None]
    matrix = sparse_rows(places, factors.mantissas[:, None], size)
    return Dyadic(matrix, factors.exponent), nothing(size)


def unroll_pool(node: SumPool2d, shape: Shape) -> tuple[Dyadic, Dyadic]:
    """One row per window, with one equal entry for each of its pixels."""
    view = windows(positions(shape)[None], node.kernel, node.stride, (1, 1))
    columns = view.reshape(-1, node.kernel[0] * node.kernel[1])
    scale = dyadic(np.array(node.scale), "scale")
    data = np.broadcast_to(scale.mantissas, columns.shape)
    matrix = sparse_rows(columns, data, int(np.prod(shape)))
    return Dyadic(matrix, scale.exponent), nothing(len(columns))


def unroll_flatten(_: Flatten, shape: Shape) -> tuple[Dyadic, Dyadic]:
    """The identity: populations are flat already."""
    size = int(np.prod(shape))
    return Dyadic(identity(size), 0), nothing(size)


UNROLL: Mapping[type[Node], Callable[[Any, Shape], tuple[Dyadic, Dyadic]]] = {
    Affine: unroll_affine,
    Conv1d: unroll_conv1d,
    Conv2d: unroll_conv,
    SumPool2d: unroll_pool,
    AvgPool2d: unroll_pool,
    Flatten: unroll_flatten,
    Scale: unroll_scale,
}


def positions(shape: Shape) -> Integers:
    """The flat index of every value of an input of `shape`."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def identity(size: int) -> csr_array:
    """The identity matrix, int64 [size, size]."""
    return csr_array(eye_array(size, dtype=np.int64, format="csr"))


def nothing(size: int) -> Dyadic:
    """A bias of zeros."""
    return Dyadic(np.zeros(size, np.int64), 0)


def sparse_rows(columns: Integers, data: Integers, width: int) -> csr_array:
    """A matrix with one row for each row of `columns`; column -1 is padding."""
    keep = (columns >= 0) & (data != 0)
    starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    matrix = csr_array((data[keep], columns[keep], starts), shape=(len(columns), width))
    matrix.sort_indices()
    return matrix
