"""Students: build the spiking network of a Blueprint, record it, make its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from stars.errors import GraphError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
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
from stars.graph.nodes.base import Array, Shape
from stars.graph.spiking_graph import SpikingGraph
from stars.networks.blueprint import Activation, AvgPool, Blueprint, ConvBN
from stars.networks.fused_lif import membranes, total
from stars.networks.lif import DT, Backend, LIFConstants, LIFLayer
from stars.networks.network import ConvBNLayer, Network
from stars.networks.outputs import Outputs

INITIAL_GAIN = 2.0  # initial BN weight, at which about a quarter of neurons spike


class Folded(Protocol):
    """A layer that returns its effective weight and bias."""

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
    """Makes passes fill the dict: name -> (spikes, membranes), [T, B, ...]."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, spikes: Tensor, membranes: Tensor) -> None:
        seen[name] = (spikes, membranes)

    layers = lif_layers(network)
    for name, layer in layers.items():
        layer.observer = partial(keep, name)
    try:
        with all_kept(network):
            yield seen
    finally:
        for layer in layers.values():
            layer.observer = None


@contextmanager
def all_kept(network: Network) -> Iterator[None]:
    """Disables activation checkpointing, so that hooks fire once per layer."""
    checkpointing, network.checkpointing = network.checkpointing, False
    try:
        yield
    finally:
        network.checkpointing = checkpointing


def with_membranes(network: Network, images: Tensor) -> Outputs:
    """The outputs of a pass with the membranes, which are recomputed from its currents.

    Gradients flow to the currents, but not through the reset.

    Args:
        network: a student.
        images: normalized, [B, C, H, W].
    """
    layers = lif_layers(network)
    found: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, arriving: tuple[Tensor, ...]) -> None:
        lif, x = cast("LIFLayer", layer), total(arriving)
        cell = lif.constants.cell(lif.steps)
        held = x.expand(lif.steps, *x.shape)
        over_time = held if lif.encodes else x.unflatten(0, (lif.steps, -1))
        found[name] = torch.stack(membranes(over_time, cell)) / cell.threshold

    hooks = [
        layer.register_forward_pre_hook(partial(keep, name))
        for name, layer in layers.items()
    ]
    try:
        with all_kept(network):
            outputs: Outputs = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return replace(outputs, membranes=tuple(found.values()))


def to_graph(
    network: Network,
    encoding: DirectEncoding,
    metadata: Mapping[str, str] | None = None,
) -> SpikingGraph:
    """The student as a SpikingGraph: BN is folded, each layer is one node, names stay.

    Raises:
        GraphError: a layer filters its current (`tau_synapse`).
    """
    nodes: dict[str, Node] = {"input": Input(network.blueprint.input_shape)}
    edges: list[tuple[str, str]] = []
    pool = SumPool2d if network.sum_pooling else AvgPool2d
    shapes: dict[str, Shape] = {"input": network.blueprint.input_shape}
    for spec in network.blueprint.layers:
        sources = spec.sources if isinstance(spec, Activation) else (spec.source,)
        shape = shapes[sources[0]]
        node: Node
        if isinstance(spec, Activation):
            neuron = lif_layers(network)[spec.name].constants
            if neuron.tau_synapse is not None:
                raise GraphError(
                    f"layer {spec.name!r} has tau_synapse {neuron.tau_synapse};"
                    " expected None, because LIF nodes do not filter their currents"
                )
            node = LIF.uniform(shape, tau=neuron.tau, v_threshold=neuron.threshold)
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
    """The weight and bias that `folded` returns, as numpy arrays."""
    weight, bias = cast("Folded", layer).folded()
    return weight.detach().cpu().numpy(), bias.detach().cpu().numpy()
