"""The synapses that each value of a graph reaches, and the products of an ANN.

Pools and flattening are merged into the weights that follow, as on a chip. The merged
weights include the effect of borders, strides and zero weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stars.errors import GraphError, UnsupportedNodeError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Input,
    Map,
    Neuron,
    Node,
    Scale,
    SumPool2d,
    Weighted,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.unrolling import check_on_grid, compose

Kind = Literal["AC", "MAC"]


@dataclass(frozen=True, eq=False)
class Fan:
    """One connection, with the fan-out of each value of its source.

    Args:
        source, target: the input or a population; a population.
        kind: of its operations.
        out: synapses per source value, int64 [N source].
        convolution: whether the connection includes a convolution or a pool.
    """

    source: str
    target: str
    kind: Kind
    out: NDArray[np.int64]
    convolution: bool


def fans(graph: SpikingGraph) -> dict[int, Fan]:
    """Every connection between populations, numbered in execution order.

    Raises:
        LimitError: a composed connection does not fit in memory.
        UnsupportedNodeError: maps cannot be composed, or populations send membranes,
            which are not countable events; the message lists all.
    """
    graded = [n for n in graph.neurons if n not in graph.spiking]
    if read := [n for n in graded if set(graph.successors(n)) != {graph.output}]:
        raise UnsupportedNodeError(
            f"synaptic events are spikes, but {read} send their membranes; energy needs"
            " populations that send spikes"
        )
    found = [
        Fan(
            source,
            target,
            kind_of(graph, source),
            column_counts(part.mantissas),
            convolution=has_windows(graph, last),
        )
        for target, edges in compose(composable(graph)).items()
        for last, edge in zip(graph.predecessors(target), edges, strict=True)
        for source, part in edge.parts.items()
    ]
    return dict(enumerate(found))


def has_windows(graph: SpikingGraph, last: str) -> bool:
    """Whether the maps that end in `last` include a convolution or a pool."""
    node = graph.nodes[last]
    if not isinstance(node, Map):
        return False
    before = graph.predecessors(last)
    return isinstance(node, Conv1d | Conv2d | SumPool2d) or any(
        has_windows(graph, name) for name in before
    )


def kind_of(graph: SpikingGraph, source: str) -> Kind:
    """MAC if the source is an input with graded values, else AC."""
    graded = source == graph.input and isinstance(graph.encoding, DirectEncoding)
    return "MAC" if graded else "AC"


def column_counts(matrix: Any) -> NDArray[np.int64]:
    """The number of nonzero entries in each column of a sparse matrix."""
    columns = matrix.indices[matrix.data != 0]
    return np.bincount(columns, minlength=matrix.shape[1]).astype(np.int64)


def composable(graph: SpikingGraph) -> SpikingGraph:
    """`graph` if it is on the grid; else a copy in which every weight is 1."""
    try:
        check_on_grid(graph)
    except GraphError:
        return graph.replace_nodes(
            {name: pattern(node) for name, node in graph.nodes.items()}
        )
    return graph


def pattern(node: Node) -> Node:
    """A node whose nonzero weights are 1, without bias; pools become sum pools."""
    if isinstance(node, Weighted):
        return replace(node, weight=node.weight != 0, bias=np.zeros(node.bias.shape))
    if isinstance(node, Scale):
        return Scale(node.scale != 0)
    if isinstance(node, AvgPool2d):
        return SumPool2d(node.kernel, node.stride)
    return node


@dataclass(frozen=True)
class AnnLayer:
    """One layer with weights of an ANN, for one image.

    Args:
        name: of the layer.
        macs: multiplications, zeros included, padding not.
        macs_lit: multiplications without a zero factor, mean over images; None if the
            activations are unknown.
        inputs, outputs: number of values.
        weights, biases: stored numbers.
        kernels: output channels times the kernel's area; 0 for a dense layer.
        image: whether it reads the 8-bit image.
    """

    name: str
    macs: int
    macs_lit: float | None
    inputs: int
    outputs: int
    weights: int
    biases: int
    kernels: int
    image: bool


def ann_layers(graph: SpikingGraph) -> dict[str, tuple[AnnLayer, ...]]:
    """The layers of an ANN of the same topology, by the population that they feed."""
    found: dict[str, list[AnnLayer]] = {name: [] for name in graph.neurons}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Weighted):
            shape = graph.shapes[graph.predecessors(name)[0]]
            macs, kernels = node.weight.size, 0
            if isinstance(node, Conv1d | Conv2d):
                macs = conv_macs(node, shape)
                kernels = node.weight.shape[0] * math.prod(node.weight.shape[2:])
            layer = AnnLayer(
                name=name,
                macs=macs,
                macs_lit=None,
                inputs=math.prod(shape),
                outputs=math.prod(graph.shapes[name]),
                weights=node.weight.size,
                biases=node.bias.size if node.bias.any() else 0,
                kernels=kernels,
                image=reads_image(graph, name),
            )
            found[population_after(graph, name)].append(layer)
    return {name: tuple(layers) for name, layers in found.items()}


def reads_image(graph: SpikingGraph, name: str) -> bool:
    """Whether a map reads the image directly, without weights in between."""
    if isinstance(graph.nodes[name], Input):
        return isinstance(graph.encoding, DirectEncoding)
    return any(
        reads_image(graph, before)
        for before in graph.predecessors(name)
        if not isinstance(graph.nodes[before], Weighted | Neuron)
    )


def population_after(graph: SpikingGraph, name: str) -> str:
    """The first population after a map."""
    while not isinstance(graph.nodes[name], Neuron):
        name = graph.successors(name)[0]
    return name


def conv_macs(node: Conv1d | Conv2d, shape: tuple[int, ...]) -> int:
    """The products of a convolution on (C, H, W), without those with padding."""
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
    """Pairs of output and tap along one axis that read a pixel, not padding."""
    at = stride * np.arange(out)[:, None] + dilation * np.arange(kernel) - padding
    return int(np.count_nonzero((at >= 0) & (at < size)))
