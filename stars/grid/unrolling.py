"""Composes every chain of maps between two populations into one exact sparse matrix.

A convolution is unrolled into one row per output neuron. Nothing is rounded: all values
are integers times powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.convolution import (
    MAX_ENTRIES,
    Geometry,
    conv_geometry,
    geometry_of,
    identity_geometry,
    pool_geometry,
    sparse_rows,
    unrolled,
)
from stars.grid.exact import Dyadic, add, dyadic, product


@dataclass(frozen=True, eq=False)
class Linear:
    """A node's value as a linear function of populations: sum of parts @ x + bias.

    Args:
        parts: sparse matrices [N, N source], by name of a population or the input.
        bias: [N].
        geometries: by the same names, of the parts that may be convolutions.
    """

    parts: Mapping[str, Dyadic]
    bias: Dyadic
    geometries: Mapping[str, Geometry] = field(default_factory=dict)


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
        name: itself(name, graph.shapes[name]) for name in (graph.input, *graph.neurons)
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


def itself(name: str, shape: Shape) -> Linear:
    """The identity: a population's value is its own spikes."""
    size, geometry = math.prod(shape), identity_geometry(shape)
    geometries = {} if geometry is None else {name: geometry}
    return Linear({name: Dyadic(identity(size), 0)}, nothing(size), geometries)


def total(values: tuple[Linear, ...]) -> Linear:
    """The sum of linear functions; added parts of one source have no geometry."""
    first, *rest = values
    for other in rest:
        parts = dict(first.parts)
        geometries = {**first.geometries, **other.geometries}
        for source, part in other.parts.items():
            if source in parts:
                parts[source] = add(parts[source], part)
                geometries.pop(source, None)
            else:
                parts[source] = part
        first = Linear(parts, add(first.bias, other.bias), geometries)
    return first


def through(name: str, node: Map, x: Linear, shape: Shape) -> Linear:
    """The value of a map whose input is `x`, of shape `shape`."""
    try:
        matrix, bias = unroll(node, shape)
        parts = {
            source: times(matrix, part).reduced() for source, part in x.parts.items()
        }
        carried = product(matrix.mantissas, x.bias.mantissas)
    except LimitError as error:
        raise LimitError(f"node {name!r}", error.violations) from error
    through_bias = Dyadic(carried, matrix.exponent + x.bias.exponent)
    own = geometry_of(node, shape)
    geometries = {
        source: both
        for source, before in x.geometries.items()
        if own is not None and (both := own.after(before)) is not None
    }
    return Linear(parts, add(through_bias, bias).reduced(), geometries)


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
    geometry = conv_geometry(node, shape)
    check_entries(geometry.unrolled_entries)
    weight, bias = dyadic(node.weight, "weight"), dyadic(node.bias, "bias")
    matrix = unrolled(geometry, weight.mantissas)
    each = np.repeat(bias.mantissas, math.prod(geometry.target[1:]))
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
    geometry = pool_geometry(node, shape)
    scale = dyadic(np.array(node.scale), "scale")
    matrix = unrolled(geometry, np.full(geometry.kernel_shape, scale.mantissas))
    return Dyadic(matrix, scale.exponent), nothing(matrix.shape[0])


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


def identity(size: int) -> csr_array:
    """The identity matrix, int64 [size, size]."""
    return csr_array(eye_array(size, dtype=np.int64, format="csr"))


def nothing(size: int) -> Dyadic:
    """A bias of zeros."""
    return Dyadic(np.zeros(size, np.int64), 0)
