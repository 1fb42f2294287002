"""A SpikingGraph as torch modules and Norse's own cells, all in float32.

On the grid float32 sums are exact in any order, unless a kernel uses TF32, bfloat16,
Winograd or FFT. `exact_kernels` excludes these. Importing this module imports torch;
importing `targets.simulators.norse` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
    Map,
    Node,
    Output,
    Scale,
    SumPool2d,
    Threshold,
)
from stars.graph.reference import arriving_values, sum_of
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.exact import as_float32
from stars.networks.norse_names import (
    IAFCell,
    IAFFeedForwardState,
    IAFParameters,
    LIBoxCell,
    LIBoxParameters,
    LIBoxState,
    LIFBoxCell,
    LIFBoxParameters,
)

MapModule = Callable[[Tensor], Tensor]  # [T B, ...] -> [T B, ...]
# (current [B, ...], state or None) -> (output, membrane, state)
Cell = Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]]
# (current, membrane before the step or None) -> membrane before the reset
Membrane = Callable[[Tensor, Any], Tensor]


@contextmanager
def exact_kernels() -> Iterator[None]:
    """Disables gradients, and all kernels that do not compute in plain float32.

    oneDNN's convolutions are direct by default. NNPACK chooses Winograd and FFT by
    itself, so it is disabled. The settings are restored at the end.
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


def simulate(graph: SpikingGraph, inputs: Array, forced: Trace | None = None) -> Trace:
    """The trace of `graph` on inputs [T, B, *input shape].

    Without a cycle every layer runs all steps at once, with time folded into the batch;
    only the cells run step by step. With a cycle everything does. With `forced` each
    node reads its input spikes from that trace.

    Raises:
        UnsupportedNodeError: names every node without a torch module.
    """
    kinds = {Input, Output, *MAPS, *CELLS}
    graph.check_supported(kinds, "target 'norse': no module")
    with exact_kernels():
        network = Network(graph)
        through = network.step_by_step if graph.delayed else network.layer_by_layer
        return through(float32(inputs), forced)


class Network:
    """The torch modules of a graph, and their simulation."""

    def __init__(self, graph: SpikingGraph) -> None:
        self.graph = graph
        nodes = {name: graph.running(name) for name in graph.order}
        self.maps: dict[str, MapModule] = {
            n: MAPS[type(v)](v) for n, v in nodes.items() if isinstance(v, Map)
        }
        self.cells: dict[str, Cell] = {
            n: CELLS[type(nodes[n])](nodes[n], graph.dt) for n in graph.stateful
        }
        ends = (graph.input, graph.output)
        self.inner = [name for name in graph.order if name not in ends]

    def layer_by_layer(self, inputs: Tensor, forced: Trace | None) -> Trace:
        """The trace on float32 inputs [T, B, *input shape], node by node."""
        values: dict[str, Tensor] = {self.graph.input: inputs}
        outputs: dict[str, Tensor] = {}
        membranes: dict[str, Tensor] = {}
        for name in self.inner:
            arriving = sum_of(values, self.graph.predecessors(name))
            if name in self.maps:
                folded = self.maps[name](arriving.flatten(0, 1))
                values[name] = folded.reshape(*inputs.shape[:2], *folded.shape[1:])
            else:
                outputs[name], membranes[name] = over_time(self.cells[name], arriving)
                values[name] = read_from(forced, name, outputs[name])
        return self.trace(outputs, membranes)

    def step_by_step(self, inputs: Tensor, forced: Trace | None) -> Trace:
        """The trace on float32 inputs [T, B, *input shape], step by step."""
        graph, batch = self.graph, inputs.shape[1]
        last = {n: torch.zeros(batch, *graph.shapes[n]) for n in graph.held}
        states: dict[str, Any] = dict.fromkeys(self.cells)
        done: dict[str, list[tuple[Tensor, Tensor]]] = {n: [] for n in self.cells}
        for t, x in enumerate(inputs):
            values: dict[str, Tensor] = {graph.input: x}
            for name in self.inner:
                sources = arriving_values(graph, name, values, last)
                arriving = sum_of(sources, sources)
                if name in self.maps:
                    values[name] = self.maps[name](arriving)
                else:
                    output, membrane, state = self.cells[name](arriving, states[name])
                    values[name] = read_from(forced, name, output, t)
                    states[name] = state
                    done[name].append((output, membrane))
            last = {name: values[name] for name in last}
        over = {
            n: [torch.stack(p) for p in zip(*v, strict=True)] for n, v in done.items()
        }
        return self.trace(*({n: pair[i] for n, pair in over.items()} for i in (0, 1)))

    def trace(
        self, values: Mapping[str, Tensor], membranes: Mapping[str, Tensor]
    ) -> Trace:
        """The trace of values and membranes [T, B, ...] of all nodes."""
        graph = self.graph
        return Trace(
            {n: values[n].numpy() != 0 for n in graph.spiking},
            {n: membranes[n].numpy().astype(np.float64) for n in graph.neurons},
            graph.readout,
        )


def read_from(
    forced: Trace | None, name: str, output: Tensor, step: int | None = None
) -> Tensor:
    """The value that a node passes on: its output, or its spikes in `forced`."""
    if forced is None or name not in forced.spikes:
        return output
    spikes = forced.spikes[name]
    return torch.from_numpy(spikes if step is None else spikes[step]).float()


def over_time(cell: Cell, currents: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs, membranes) of a cell for its currents, all [T, B, ...]."""
    state, outputs, membranes = None, [], []
    for current in currents:
        output, membrane, state = cell(current, state)
        outputs.append(output)
        membranes.append(membrane)
    return torch.stack(outputs), torch.stack(membranes)


def float32(array: Array) -> Tensor:
    """A float32 copy; exact for values on the grid."""
    return torch.from_numpy(as_float32(array).copy())


def with_parameters(module: nn.Module, weight: Array, bias: Array) -> MapModule:
    """`module` with these parameters; made on "meta", it drew no random weights."""
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


def conv1d(node: Conv1d) -> MapModule:
    """torch.nn.Conv1d."""
    out, size, kernel = node.weight.shape
    module = nn.Conv1d(
        size * node.groups,
        out,
        kernel,
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


def scale(node: Scale) -> MapModule:
    """An elementwise product."""
    factors = float32(node.scale)
    return lambda x: x * factors


def lif(node: LIF | CubaLIF, dt: float) -> Cell:
    """Norse's LIFBoxCell; a resistance other than 1 scales the current.

    The cell multiplies its dt by its inverse time constant in float32, which rounds
    twice. With dt = 1 and the inverse time constant k = dt / tau it uses k itself.
    """
    if isinstance(node, LIF) and node.membrane_step is not None:
        return truncating_lif(node, dt, node.membrane_step)
    tau = node.tau if isinstance(node, LIF) else node.tau_mem
    parameters = LIFBoxParameters(
        tau_mem_inv=float32(dt / tau),
        v_leak=float32(node.v_leak),
        v_th=float32(node.v_threshold),
        v_reset=float32(node.v_reset),
    )
    cell, resistance = LIFBoxCell(parameters, dt=1.0), float32(node.r)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        spikes, state = cell(current * resistance, state)
        return spikes, state.v, state

    return step


def truncating_lif(node: LIF, dt: float, volts: float) -> Cell:
    """A LIF whose decay truncates to `volts`, which Norse's cell cannot do."""
    k = dt / node.tau
    return spiking(truncating(k, k * node.r, node.v_leak, np.array(volts)), node)


def truncating(k: Array, gain: Array, leak: Array, grain: Array) -> Membrane:
    """A step of v' = leak + grain trunc((1 - k) (v - leak) / grain) + gain x."""
    keep, factor, rest = float32((1 - k) / grain), float32(gain), float32(leak)
    unit = float32(grain)

    def step(x: Tensor, v: Any) -> Tensor:
        before = rest if v is None else v
        after: Tensor = rest + torch.trunc((before - rest) * keep) * unit + x * factor
        return after

    return step


def spiking(membrane: Membrane, node: LIF | CubaLIF) -> Cell:
    """A cell with this membrane, which spikes above the node's threshold and resets."""
    bound, reset = float32(node.v_threshold), float32(node.v_reset)

    def step(x: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        v = membrane(x, state)
        spikes = v > bound
        v = torch.where(spikes, reset, v)
        return spikes.float(), v, v

    return step


def li(node: LI | CubaLI, dt: float) -> Cell:
    """Norse's LIBoxCell; a resistance other than 1 scales the current."""
    tau = node.tau if isinstance(node, LI) else node.tau_mem
    return li_box(dt / tau, node.r, node.v_leak)


def li_box(k: Array, gain: Array, v_leak: Array) -> Cell:
    """Norse's LIBoxCell on a current times `gain`, with the decay `k` as in `lif`."""
    parameters = LIBoxParameters(float32(k), float32(v_leak))
    cell, factor = LIBoxCell(parameters, dt=1.0), float32(gain)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        state = LIBoxState(float32(v_leak)) if state is None else state
        membrane, state = cell(current * factor, state)
        return membrane, membrane, state

    return step


def cuba(node: CubaLI, dt: float) -> Cell:
    """A LIBoxCell as the synapse, then a cell on its current: Norse's `from_nir`."""
    if isinstance(node, CubaLIF) and node.membrane_step is not None:
        return truncating_cuba(node, dt, node.membrane_step)
    synapse = li_box(dt / node.tau_syn, node.w_in, np.zeros(node.shape))
    soma = lif(node, dt) if isinstance(node, CubaLIF) else li(node, dt)
    return in_turn(synapse, soma)


def truncating_cuba(node: CubaLIF, dt: float, volts: float) -> Cell:
    """A CubaLIF whose decays truncate, which Norse's cells cannot do."""
    k_u, k_v = dt / node.tau_syn, dt / node.tau_mem
    rest = np.zeros(node.shape)
    current = truncating(k_u, k_u * node.w_in, rest, node.current_step(dt))
    membrane = truncating(k_v, k_v * node.r, node.v_leak, np.array(volts))

    def synapse(x: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        u = current(x, state)
        return u, u, u

    return in_turn(synapse, spiking(membrane, node))


def in_turn(synapse: Cell, soma: Cell) -> Cell:
    """The cell whose `synapse` makes the current and whose `soma` does the rest."""

    def step(arriving: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        before, inside = (None, None) if state is None else state
        current, _, after = synapse(arriving, before)
        output, membrane, inside = soma(current, inside)
        return output, membrane, (after, inside)

    return step


def integrate_and_fire(node: IF, dt: float) -> Cell:
    """Norse's IAFCell on dt r x, started at 0 instead of at v_reset."""
    parameters = IAFParameters(
        v_th=float32(node.v_threshold), v_reset=float32(node.v_reset)
    )
    cell, gain = IAFCell(parameters), float32(dt * node.r)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        if state is None:
            state = IAFFeedForwardState(v=torch.zeros_like(current))
        spikes, state = cell(current * gain, state)
        return spikes, state.v, state

    return step


def integrator(node: Integrator, dt: float) -> Cell:
    """The sum over time of the scaled current."""
    gain = float32(dt * node.r)

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        membrane = current * gain if state is None else state + current * gain
        return membrane, membrane, membrane

    return step


def threshold(node: Threshold, _: float) -> Cell:
    """A comparison with the threshold."""
    bound = float32(node.threshold)
    return lambda x, _: ((x > bound).to(x.dtype), x, None)


def delay(node: Delay, _: float) -> Cell:
    """A buffer of past inputs, newest first; each neuron reads its own delay."""
    places = torch.tensor(node.steps)[None, None]

    def step(x: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        if state is None:
            state = x.new_zeros(len(x), node.longest, *x.shape[1:])
        known = torch.cat([x[:, None], state], dim=1)
        output = torch.take_along_dim(known, places, dim=1)[:, 0]
        return output, output, known[:, :-1]

    return step


# Each entry takes a node of its own type; the tables' types cannot say so.
MAPS: Mapping[type[Node], Callable[[Any], MapModule]] = {
    Affine: affine,
    Conv1d: conv1d,
    Conv2d: conv2d,
    SumPool2d: pool2d,
    AvgPool2d: pool2d,
    Flatten: flatten,
    Scale: scale,
}
CELLS: Mapping[type[Node], Callable[[Any, float], Cell]] = {
    IF: integrate_and_fire,
    LIF: lif,
    CubaLIF: cuba,
    LI: li,
    CubaLI: cuba,
    Integrator: integrator,
    Threshold: threshold,
    Delay: delay,
}
