"""How many synapses each value of a graph meets, and what an ANN would multiply.

Pools and flattening are composed into the weights that follow, as on a chip; borders,
strides and zero weights are in the product itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stars.compose import check_on_grid, compose
from stars.encode import DirectEncoding
from stars.errors import GraphError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.nodes import (
    Affine,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Neuron,
    Node,
    Scale,
    SumPool2d,
    Weighted,
)

Kind = Literal["AC", "MAC"]


@dataclass(frozen=True, eq=False)
class Fan:
    """One connection: how many synapses each value of its source meets, int64 [N]."""

    source: str
    target: str
    kind: Kind
    out: NDArray[np.int64]


def fans(graph: SpikingGraph) -> dict[int, Fan]:
    """Every connection between populations, numbered in execution order.

    Raises:
        LimitError: a composed connection does not fit in memory.
        UnsupportedNodeError: maps that cannot be composed, or populations that hand on
            their membranes, which are no events to count; all of them.
    """
    graded = [n for n in graph.neurons if n not in graph.spiking]
    if read := [n for n in graded if set(graph.successors(n)) != {graph.output}]:
        raise UnsupportedNodeError(
            f"synaptic events are spikes, but {read} hand on their membranes"
        )
    found = [
        Fan(source, target, kind_of(graph, source), column_counts(part.mantissas))
        for target, edges in compose(composable(graph)).items()
        for edge in edges
        for source, part in edge.parts.items()
    ]
    return dict(enumerate(found))


def kind_of(graph: SpikingGraph, source: str) -> Kind:
    """MAC from an input that its encoding makes graded, else AC."""
    graded = source == graph.input and isinstance(graph.encoding, DirectEncoding)
    return "MAC" if graded else "AC"


def column_counts(matrix: Any) -> NDArray[np.int64]:
    """Entries that are not zero in each column of a sparse matrix."""
    columns = matrix.indices[matrix.data != 0]
    return np.bincount(columns, minlength=matrix.shape[1]).astype(np.int64)


def composable(graph: SpikingGraph) -> SpikingGraph:
    """`graph` itself on the grid; else one with the same synapses, each of weight 1."""
    try:
        check_on_grid(graph)
    except GraphError:
        return graph.replace_nodes(
            {name: pattern(node) for name, node in graph.nodes.items()}
        )
    return graph


def pattern(node: Node) -> Node:
    """A node with weight 1 wherever there is one, without bias; pools of sums."""
    if isinstance(node, Weighted):
        return replace(node, weight=node.weight != 0, bias=np.zeros(node.bias.shape))
    if isinstance(node, Scale):
        return Scale(node.scale != 0)
    if isinstance(node, AvgPool2d):
        return SumPool2d(node.kernel, node.stride)
    return node


def ann_macs(graph: SpikingGraph) -> Mapping[str, int]:
    """MACs that one pass of an ANN needs for the weights before each population."""
    macs = dict.fromkeys(graph.neurons, 0)
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Affine):
            macs[population_after(graph, name)] += node.weight.size
        elif isinstance(node, Conv1d | Conv2d):
            shape = graph.shapes[graph.predecessors(name)[0]]
            macs[population_after(graph, name)] += conv_macs(node, shape)
    return macs


def population_after(graph: SpikingGraph, name: str) -> str:
    """The first population that a map's values reach."""
    while not isinstance(graph.nodes[name], Neuron):
        name = graph.successors(name)[0]
    return name


def conv_macs(node: Conv1d | Conv2d, shape: tuple[int, ...]) -> int:
    """Products of a convolution on (C, H, W), those with padding left out."""
    if isinstance(node, Conv1d):
        return conv_macs(node.flat(), (shape[0], 1, shape[1]))
    pixels = [
        taps_inside(n, *axis)
        for n, axis in zip(
            shape[1:],
            zip(
                node.output_shape(shape)[1:],
                node.kernel,
                node.stride,
                node.padding,
                node.dilation,
                strict=True,
            ),
            strict=True,
        )
    ]
    return math.prod(node.weight.shape[:2]) * math.prod(pixels)


def taps_inside(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Pairs of output and tap along one axis that fall on a pixel, not on padding."""
    at = stride * np.arange(out)[:, None] + dilation * np.arange(kernel) - padding
    return int(np.count_nonzero((at >= 0) & (at < size)))
