"""A SpikingGraph as torch modules and Norse's own LIFBox cells, float32 throughout.

On the grid float32 sums are exact whatever their order, unless a kernel does other
arithmetic: TF32, bfloat16, Winograd and FFT do, and `exact_kernels` keeps them out.
Importing this imports torch; `targets.norse_cpu` does not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stars.dyadic import as_float32
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
from stars.reference import sum_of
from stars.trace import Trace

with warnings.catch_warnings():
    # Norse compiles some functions on import, in a way that torch deprecates.
    warnings.filterwarnings("ignore", category=FutureWarning)
    from norse.torch import LIFBoxCell, LIFBoxParameters

MapModule = Callable[[Tensor], Tensor]  # [T B, ...] -> [T B, ...]
NeuronModule = Callable[[Tensor], tuple[Tensor, Tensor]]  # [T, B, ...] twice


@contextmanager
def exact_kernels() -> Iterator[None]:
    """No gradients, and kernels that add and multiply in float32 and nothing else.

    oneDNN's convolutions are direct ones unless asked otherwise; NNPACK chooses
    Winograd and FFT by itself, so it is switched off. What was set before comes back.
    """
    onednn: Any = torch.backends.mkldnn
    kernels = (onednn.conv, onednn.matmul)
    before = [kernel.fp32_precision for kernel in kernels]
    with (
        torch.inference_mode(),
        torch.autocast("cpu", enabled=False),
        torch.backends.nnpack.flags(enabled=False),
    ):
        try:
            for kernel in kernels:
                kernel.fp32_precision = "ieee"
            yield
        finally:
            for kernel, precision in zip(kernels, before, strict=True):
                kernel.fp32_precision = precision


def simulate(graph: SpikingGraph, inputs: Array) -> Trace:
    """The trace of `graph` on inputs [T, B, *input shape].

    Every layer sees all steps at once, time folded into the batch, since layers are
    undelayed and the graph has no cycle; only the cells go step by step.

    Raises:
        UnsupportedNodeError: nodes without a torch module, all of them.
    """
    kinds = {Input, Output, *MAPS, *NEURONS}
    graph.check_supported(kinds, "target 'norse': no module")
    with exact_kernels():
        return through_layers(graph, float32(inputs))


def through_layers(graph: SpikingGraph, inputs: Tensor) -> Trace:
    """The trace on float32 inputs [T, B, *input shape], layer by layer."""
    values: dict[str, Tensor] = {graph.input: inputs}
    spikes, membranes = {}, {}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Input | Output):
            continue
        arriving = sum_of(values, graph.predecessors(name))
        if type(node) in MAPS:
            folded = MAPS[type(node)](node)(arriving.flatten(0, 1))
            values[name] = folded.reshape(*inputs.shape[:2], *folded.shape[1:])
            continue
        values[name], membrane = NEURONS[type(node)](node, graph.dt)(arriving)
        membranes[name] = membrane.numpy().astype(np.float64)
        if graph.neuron(name).spiking:
            spikes[name] = values[name].numpy() != 0
    return Trace(spikes, membranes, graph.readout)


def float32(array: Array) -> Tensor:
    """A float32 copy; exact for everything that is on the grid."""
    return torch.from_numpy(as_float32(array).copy())


def with_parameters(module: nn.Module, weight: Array, bias: Array) -> MapModule:
    """`module`, made on no device so that it draws no random weights, with these."""
    module.weight = nn.Parameter(float32(weight), requires_grad=False)
    module.bias = nn.Parameter(float32(bias), requires_grad=False)
    return module


def affine(node: Affine) -> MapModule:
    """torch.nn.Linear."""
    out, size = node.weight.shape
    return with_parameters(nn.Linear(size, out, device="meta"), node.weight, node.bias)


def conv2d(node: Conv2d) -> MapModule:
    """torch.nn.Conv2d."""
    out, size = node.weight.shape[:2]
    module = nn.Conv2d(
        size * node.groups,
        out,
        node.kernel,
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
        device="meta",
    )
    return with_parameters(module, node.weight, node.bias)


def pool2d(node: SumPool2d) -> MapModule:
    """torch.nn.AvgPool2d; a sum is a mean whose divisor is 1."""
    divisor = None if node.mean else 1
    return nn.AvgPool2d(node.kernel, node.stride, divisor_override=divisor)


def flatten(_: Flatten) -> MapModule:
    """torch.nn.Flatten."""
    return nn.Flatten()


def lif(node: LIF, dt: float) -> NeuronModule:
    """Norse's LIFBoxCell over time; a resistance other than 1 scales the current."""
    parameters = LIFBoxParameters(
        tau_mem_inv=float32(1.0 / node.tau),
        v_leak=float32(node.v_leak),
        v_th=float32(node.v_threshold),
        v_reset=float32(node.v_reset),
    )
    cell, resistance = LIFBoxCell(parameters, dt=dt), float32(node.r)

    def over_time(currents: Tensor) -> tuple[Tensor, Tensor]:
        state, spikes, membranes = None, [], []
        for current in currents * resistance:
            spike, state = cell(current, state)
            spikes.append(spike)
            membranes.append(state.v)
        return torch.stack(spikes), torch.stack(membranes)

    return over_time


def integrator(node: Integrator, dt: float) -> NeuronModule:
    """A plain sum over time of the scaled current."""
    scale = float32(dt * node.r)

    def over_time(currents: Tensor) -> tuple[Tensor, Tensor]:
        membranes = (currents * scale).cumsum(0)
        return membranes, membranes

    return over_time


# Each entry takes a node of its own type; the tables' types cannot say so.
MAPS: Mapping[type[Node], Callable[[Any], MapModule]] = {
    Affine: affine,
    Conv2d: conv2d,
    SumPool2d: pool2d,
    AvgPool2d: pool2d,
    Flatten: flatten,
}
NEURONS: Mapping[type[Node], Callable[[Any, float], NeuronModule]] = {
    LIF: lif,
    Integrator: integrator,
}
