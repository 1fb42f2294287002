"""Student: the spiking network of a Blueprint; build, record, to_graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from stars.architectures.blueprint import Activation, AvgPool, Blueprint, ConvBN
from stars.architectures.network import ConvBNLayer, Network
from stars.encode import DirectEncoding
from stars.graph import SpikingGraph
from stars.lif import DT, Backend, LIFConstants, LIFLayer
from stars.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    SumPool2d,
)
from stars.nodes.base import Array, Shape

INITIAL_GAIN = 2.0  # BN weight at the start: about a quarter of the neurons spike


class Folded(Protocol):
    """A layer that can say its effective weight and bias."""

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias, float64."""
        ...


def build(
    blueprint: Blueprint,
    steps: int,
    constants: LIFConstants | None = None,
    backend: Backend = "norse-eager",
) -> Network:
    """A spiking student with fresh weights."""
    neuron = constants or LIFConstants()

    def activation(spec: Activation) -> nn.Module:
        return LIFLayer(neuron, steps, encodes=spec.encodes, backend=backend)

    network = Network(blueprint, activation, steps)
    for module in network.modules():
        if isinstance(module, ConvBNLayer):
            nn.init.constant_(module.bn.weight, INITIAL_GAIN)
    return network.to(memory_format=torch.channels_last)


def lif_layers(network: Network) -> dict[str, LIFLayer]:
    """The spiking layers by name, in execution order."""
    return {
        spec.name: cast("LIFLayer", network.layers[spec.name])
        for spec in network.blueprint.layers
        if isinstance(spec, Activation)
    }


@contextmanager
def recorded(network: Network) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within it, a pass fills the dict: name -> (spikes, membranes), [T, B, ...]."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, spikes: Tensor, membranes: Tensor) -> None:
        seen[name] = (spikes, membranes)

    layers = lif_layers(network)
    checkpointing, network.checkpointing = network.checkpointing, False
    for name, layer in layers.items():
        layer.observer = partial(keep, name)
    try:
        yield seen
    finally:
        network.checkpointing = checkpointing
        for layer in layers.values():
            layer.observer = None


def to_graph(
    network: Network,
    encoding: DirectEncoding,
    metadata: Mapping[str, str] | None = None,
) -> SpikingGraph:
    """The student as a SpikingGraph: BN folded, one node a layer, names kept."""
    nodes: dict[str, Node] = {"input": Input(network.blueprint.input_shape)}
    edges: list[tuple[str, str]] = []
    pool = SumPool2d if network.sum_pooling else AvgPool2d
    shapes: dict[str, Shape] = {"input": network.blueprint.input_shape}
    for spec in network.blueprint.layers:
        sources = spec.sources if isinstance(spec, Activation) else (spec.source,)
        shape = shapes[sources[0]]
        node: Node
        if isinstance(spec, Activation):
            constants = lif_layers(network)[spec.name].constants
            node = LIF.uniform(
                shape, tau=constants.tau, v_threshold=constants.threshold
            )
        elif isinstance(spec, AvgPool):
            node = pool((spec.kernel, spec.kernel), (spec.kernel, spec.kernel))
        elif isinstance(spec, ConvBN):
            weight, bias = effective(network.layers[spec.name])
            size = (spec.stride, spec.stride), (spec.padding, spec.padding)
            node = Conv2d(weight, bias, *size)
        else:
            nodes["flatten"] = Flatten()
            edges.append((spec.source, "flatten"))
            sources, shape = ("flatten",), nodes["flatten"].output_shape(shape)
            node = Affine(*effective(network.layers[spec.name]))
        nodes[spec.name] = node
        shapes[spec.name] = node.output_shape(shape)
        edges += [(source, spec.name) for source in sources]
    classes = network.blueprint.classes
    nodes["readout"] = Integrator(np.full(classes, 1.0 / DT))
    nodes["output"] = Output()
    edges += [(spec.name, "readout"), ("readout", "output")]
    return SpikingGraph(
        nodes, tuple(edges), DT, network.steps, encoding, metadata or {}
    )


def effective(layer: nn.Module) -> tuple[Array, Array]:
    """What `folded` says, as numpy."""
    weight, bias = cast("Folded", layer).folded()
    return weight.detach().cpu().numpy(), bias.detach().cpu().numpy()
