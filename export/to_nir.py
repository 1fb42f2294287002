"""SpikingGraph -> NIR, in memory or as a file.

NIR has no time step, no discrete-time semantics and no order of nodes. They are stored
in the metadata, so that reading the file returns an equal graph. Times are in seconds,
neurons have their full shape, and several edges into one node add.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

from export.nir_metadata import GROUP, decay_ratios, metadata
from stars.errors import FormatError
from stars.files.writing import atomic
from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Affine,
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
    Shape,
    SumPool2d,
    Threshold,
)
from stars.graph.spiking_graph import SpikingGraph


def write(graph: SpikingGraph, path: Path) -> None:
    """Write `graph` as a NIR file (HDF5), atomically.

    Raises:
        UnsupportedNodeError: NIR cannot express some nodes; names all of them.
        FormatError: HDF5 cannot hold a name or a text.
        DataError: the file cannot be written.
    """
    nir_graph = to_nir(graph)
    with atomic(path) as temporary:
        nir.write(temporary, nir_graph)


def to_nir(graph: SpikingGraph) -> nir.NIRGraph:
    """`graph` as a NIR graph; the metadata hold what NIR cannot express.

    Raises:
        UnsupportedNodeError: NIR cannot express some nodes; names all of them.
        FormatError: HDF5 cannot hold a name or a text.
    """
    graph.check_supported(TO_NIR, "NIR export: no mapping")
    check_text(graph)
    nodes = {name: node_to_nir(graph, name) for name in graph.nodes}
    # NIR's own shape check is wrong for kernels that are not square and for groups;
    # SpikingGraph has checked every shape already.
    return nir.NIRGraph(
        nodes=nodes,
        edges=[(a, b) for a, b in graph.edges],
        metadata=metadata(graph),
        type_check=False,
    )


def node_to_nir(graph: SpikingGraph, name: str) -> nir.NIRNode:
    """One node, with its input and output shapes filled in."""
    node, shape = graph.nodes[name], input_shape(graph, name)
    converted = TO_NIR[type(node)](node, shape, graph.dt)
    converted.input_type = {"input": np.array(shape)}
    converted.output_type = {"output": np.array(graph.shapes[name])}
    ours: dict[str, Any] = {}
    if isinstance(node, LIF | LI):
        ours["k"] = json.dumps(decay_ratios(graph.dt, node))
    if isinstance(node, LIF | CubaLIF) and node.membrane_step is not None:
        ours["membrane_step"] = node.membrane_step
    if ours:
        converted.metadata = {GROUP: ours}
    return converted


def input_shape(graph: SpikingGraph, name: str) -> Shape:
    """Shape of a node's input; for an Input, its own shape."""
    before = graph.predecessors(name)
    return graph.shapes[before[0] if before else name]


def check_text(graph: SpikingGraph) -> None:
    """Raise on names that HDF5 reads as paths, and on metadata that is no text."""
    for name in graph.nodes:
        if not name or name == "." or "/" in name or "\0" in name:
            raise FormatError(
                f"NIR export: HDF5 cannot hold the node name {name!r}; use a name that"
                " is not empty, not '.', and has no '/' and no zero character"
            )
    for key, text in graph.metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise FormatError(
                f"NIR export: metadata {key!r} is a {type(text).__name__}; only text"
                " can be stored"
            )


def _input(_: Input, shape: Shape, __: float) -> nir.NIRNode:
    return nir.Input(input_type=np.array(shape))


def _output(_: Output, shape: Shape, __: float) -> nir.NIRNode:
    return nir.Output(output_type=np.array(shape))


def _conv1d(node: Conv1d, shape: Shape, _: float) -> nir.NIRNode:
    return nir.Conv1d(input_shape=shape[1], **node.parameters())


def _conv2d(node: Conv2d, shape: Shape, _: float) -> nir.NIRNode:
    return nir.Conv2d(input_shape=tuple(shape[1:]), **node.parameters())


def _sum_pool2d(node: SumPool2d, _: Shape, __: float) -> nir.NIRNode:
    return nir.SumPool2d(**_window(node))


def _avg_pool2d(node: AvgPool2d, _: Shape, __: float) -> nir.NIRNode:
    return nir.AvgPool2d(**_window(node))


def _window(node: SumPool2d) -> Mapping[str, Any]:
    return {
        "kernel_size": np.array(node.kernel),
        "stride": np.array(node.stride),
        "padding": np.zeros(2, dtype=np.int64),
    }


def _flatten(_: Flatten, shape: Shape, __: float) -> nir.NIRNode:
    # Shapes have no batch axis, so the first axis to flatten is 0, not NIR's default 1.
    return nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0, end_dim=-1)


def _delay(node: Delay, _: Shape, dt: float) -> nir.NIRNode:
    return nir.Delay(delay=node.steps * dt)


def same_fields(primitive: type[nir.NIRNode]) -> Callable[..., nir.NIRNode]:
    """The conversion of a node that has the same fields as the primitive."""
    return lambda node, *_: primitive(**node.parameters())


def leaky(primitive: type[nir.NIRNode]) -> Callable[..., nir.NIRNode]:
    """As `same_fields`, without the membrane's step, which is in the metadata."""

    def convert(node: LIF | CubaLIF, *_: object) -> nir.NIRNode:
        values = node.parameters()
        values.pop("membrane_step")
        return primitive(**values)

    return convert


# Each entry takes a node of its own type, which the type cannot express.
TO_NIR: Mapping[type[Node], Callable[[Any, Shape, float], nir.NIRNode]] = {
    Input: _input,
    Output: _output,
    Affine: same_fields(nir.Affine),
    Conv1d: _conv1d,
    Conv2d: _conv2d,
    SumPool2d: _sum_pool2d,
    AvgPool2d: _avg_pool2d,
    Flatten: _flatten,
    Scale: same_fields(nir.Scale),
    Delay: _delay,
    Threshold: same_fields(nir.Threshold),
    IF: same_fields(nir.IF),
    LIF: leaky(nir.LIF),
    CubaLIF: leaky(nir.CubaLIF),
    LI: same_fields(nir.LI),
    CubaLI: same_fields(nir.CubaLI),
    Integrator: same_fields(nir.I),
}
