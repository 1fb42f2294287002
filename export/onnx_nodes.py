"""The ONNX operators of each node type, in float32: `MAPS` and `STATEFUL`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.onnx_operators import NodeValues, Step, onnx
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
    Weighted,
)


def _with_bias(step: Step, name: str, node: Weighted, x: str) -> list[str]:
    """The operands: x, the weights, and the bias if it is not 0."""
    operands = [x, step.constants.weight(f"{name}:weight", node.weight)]
    if node.bias.any():
        operands.append(step.constants.float32(f"{name}:bias", node.bias))
    return operands


def _affine(step: Step, name: str, node: Affine, x: str) -> str:
    return step.value("Gemm", _with_bias(step, name, node, x), name, "dense", transB=1)


def _conv1d(step: Step, name: str, node: Conv1d, x: str) -> str:
    return step.value(
        "Conv",
        _with_bias(step, name, node, x),
        name,
        "conv",
        kernel_shape=node.weight.shape[2:],
        strides=[node.stride],
        pads=[node.padding, node.padding],
        dilations=[node.dilation],
        group=node.groups,
    )


def _conv2d(step: Step, name: str, node: Conv2d, x: str) -> str:
    return step.value(
        "Conv",
        _with_bias(step, name, node, x),
        name,
        "conv",
        kernel_shape=node.kernel,
        strides=node.stride,
        pads=(*node.padding, *node.padding),
        dilations=node.dilation,
        group=node.groups,
    )


def _avg_pool2d(step: Step, name: str, node: AvgPool2d, x: str) -> str:
    return step.value(
        "AveragePool",
        [x],
        name,
        "mean",
        kernel_shape=node.kernel,
        strides=node.stride,
    )


def _sum_pool2d(step: Step, name: str, node: SumPool2d, x: str) -> str:
    """A convolution of each channel with ones, which is exact for every window.

    ONNX has no sum pool. A mean times the area equals the sum only if the area is a
    power of two: in float32, 7 / 49 * 49 is not 7.
    """
    channels = step.graph.shapes[name][0]
    ones = step.constants.weight(f"{name}:ones", np.ones((channels, 1, *node.kernel)))
    return step.value(
        "Conv",
        [x, ones],
        name,
        "sum",
        kernel_shape=node.kernel,
        strides=node.stride,
        group=channels,
    )


def _flatten(step: Step, name: str, _: Flatten, x: str) -> str:
    return step.value("Flatten", [x], name, "flat", axis=1)


def _scale(step: Step, name: str, node: Scale, x: str) -> str:
    factors = step.constants.population(f"{name}:scale", node.scale)
    return step.value("Mul", [x, factors], name, "scaled")


@dataclass(frozen=True)
class Relaxation:
    """v' = v + (dt / tau) (leak - v + gain x), one Euler step toward leak + gain x.

    Args:
        role: prefix of the names of its constants and values.
        tau: seconds.
        gain, leak: see the equation.
    """

    role: str
    tau: Array
    gain: Array
    leak: Array

    def add(self, step: Step, name: str, x: str, v: str, result: str) -> str:
        """Add its operators to node `name`; `result` is the role of v'."""

        def constant(role: str, values: Array) -> str:
            return step.constants.population(f"{name}:{self.role}{role}", values)

        def value(kind: str, inputs: list[str], role: str) -> str:
            return step.value(kind, inputs, name, f"{self.role}{role}")

        if (self.gain != 1).any():
            x = value("Mul", [x, constant("r", self.gain)], "current")
        if self.leak.any():
            pull = value("Sub", [constant("v_leak", self.leak), v], "pull")
            drive = value("Add", [pull, x], "drive")
        else:  # one operator gives the same bits
            drive = value("Sub", [x, v], "drive")
        k = constant("k", step.graph.dt / self.tau)
        change = value("Mul", [drive, k], "change")
        return value("Add", [v, change], result)


def _fired(step: Step, name: str, node: IF | LIF | CubaLIF, before: str) -> NodeValues:
    """Add spikes above v_threshold, and the reset of the membrane."""
    constant = step.constants.population
    threshold = constant(f"{name}:v_threshold", node.v_threshold)
    fired = step.value("Greater", [before, threshold], name, "fired")
    reset = constant(f"{name}:v_reset", node.v_reset)
    after = step.value("Where", [fired, reset, before], name, "membrane")
    return NodeValues(_as_float(step, name, fired), after, spikes=fired)


def _as_float(step: Step, name: str, fired: str) -> str:
    return step.value("Cast", [fired], name, "spikes", to=onnx().TensorProto.FLOAT)


def _lif(step: Step, name: str, node: LIF, x: str, v: str) -> NodeValues:
    if node.membrane_step is None:
        rule: Relaxation | Truncation = Relaxation("", node.tau, node.r, node.v_leak)
    else:
        k, g = step.graph.dt / node.tau, np.full(node.shape, node.membrane_step)
        rule = Truncation("", k, k * node.r, node.v_leak, g)
    return _fired(step, name, node, rule.add(step, name, x, v, "before_reset"))


@dataclass(frozen=True)
class Truncation:
    """v' = leak + g trunc((1 - k) (v - leak) / g) + gain x; trunc is toward zero.

    Older operator sets have no truncation, so it is Sign times Floor of Abs.

    Args:
        role: prefix of the names of its constants and values.
        k: dt / tau.
        gain, leak, g: see the equation.
    """

    role: str
    k: Array
    gain: Array
    leak: Array
    g: Array

    def add(self, step: Step, name: str, x: str, v: str, result: str) -> str:
        """Add its operators to node `name`; `result` is the role of v'."""

        def constant(role: str, values: Array) -> str:
            return step.constants.population(f"{name}:{self.role}{role}", values)

        def value(kind: str, inputs: list[str], role: str) -> str:
            return step.value(kind, inputs, name, f"{self.role}{role}")

        leak = constant("v_leak", self.leak)
        above = value("Sub", [v, leak], "above_leak")
        keep = constant("keep", (1 - self.k) / self.g)
        kept = value("Mul", [above, keep], "kept")
        size = value("Floor", [value("Abs", [kept], "kept_size")], "whole_steps")
        whole = value("Mul", [value("Sign", [kept], "side"), size], "truncated")
        volts = value("Mul", [whole, constant("g", self.g)], "volts")
        rest = value("Add", [leak, volts], "decayed")
        change = value("Mul", [x, constant("k_r", self.gain)], "change")
        return value("Add", [rest, change], result)


def _li(step: Step, name: str, node: LI, x: str, v: str) -> NodeValues:
    step_of_v = Relaxation("", node.tau, node.r, node.v_leak)
    after = step_of_v.add(step, name, x, v, "membrane")
    return NodeValues(after, after)


def _cuba(step: Step, name: str, node: CubaLI, x: str, state: str) -> NodeValues:
    """First the current, then the membrane; both are in one state [B, 2, ...]."""
    parts = [
        step.value(
            "Gather", [state, step.constants.integers(role, i)], name, role, axis=1
        )
        for i, role in enumerate(("u_before", "v_before"))
    ]
    synapse, soma = _cuba_rules(step, node)
    u = synapse.add(step, name, x, parts[0], "after")
    if isinstance(node, CubaLIF):
        v = soma.add(step, name, u, parts[1], "before_reset")
        found = _fired(step, name, node, v)
    else:
        v = soma.add(step, name, u, parts[1], "membrane")
        found = NodeValues(v, v)
    rows = [
        step.value("Unsqueeze", [part, step.constants.integers("row", [1])], name, role)
        for part, role in ((u, "u_row"), (found.membrane or v, "v_row"))
    ]
    return replace(found, state=step.value("Concat", rows, name, "state", axis=1))


def _cuba_rules(
    step: Step, node: CubaLI
) -> tuple[Relaxation | Truncation, Relaxation | Truncation]:
    """(Rule of the current, rule of the membrane)."""
    rest = np.zeros(node.shape)
    if isinstance(node, CubaLIF) and node.membrane_step is not None:
        dt = step.graph.dt
        k_u, k_v = dt / node.tau_syn, dt / node.tau_mem
        g, h = np.full(node.shape, node.membrane_step), node.current_step(dt)
        synapse = Truncation("syn_", k_u, k_u * node.w_in, rest, h)
        return synapse, Truncation("", k_v, k_v * node.r, node.v_leak, g)
    return (
        Relaxation("syn_", node.tau_syn, node.w_in, rest),
        Relaxation("", node.tau_mem, node.r, node.v_leak),
    )


def _current(step: Step, name: str, r: Array, x: str) -> str:
    """Add the product dt r x."""
    gain = step.graph.dt * r
    if (gain == 1).all():
        return x
    factor = step.constants.population(f"{name}:dt_r", gain)
    return step.value("Mul", [x, factor], name, "change")


def _if(step: Step, name: str, node: IF, x: str, v: str) -> NodeValues:
    operands = [v, _current(step, name, node.r, x)]
    return _fired(step, name, node, step.value("Add", operands, name, "before_reset"))


def _integrator(step: Step, name: str, node: Integrator, x: str, v: str) -> NodeValues:
    operands = [v, _current(step, name, node.r, x)]
    after = step.value("Add", operands, name, "membrane")
    return NodeValues(after, after)


def _threshold(step: Step, name: str, node: Threshold, x: str, _: str) -> NodeValues:
    bound = step.constants.population(f"{name}:threshold", node.threshold)
    fired = step.value("Greater", [x, bound], name, "fired")
    membrane = step.value("Identity", [x], name, "membrane")
    return NodeValues(_as_float(step, name, fired), membrane, spikes=fired)


def _delay(step: Step, name: str, node: Delay, x: str, state: str) -> NodeValues:
    """Keep past inputs, newest first; each neuron takes the one of its delay."""
    if not node.longest:
        return NodeValues(x)

    def value(kind: str, inputs: list[str], role: str, **options: Any) -> str:
        return step.value(kind, inputs, name, role, **options)

    integers = step.constants.integers
    one = integers("row", [1])
    newest = value("Unsqueeze", [x, one], "newest")
    known = value("Concat", [newest, state], "known", axis=1)
    places = integers(f"{name}:places", node.steps[None, None].tolist())
    alike = value("Expand", [places, value("Shape", [newest], "shape")], "each")
    taken = value("GatherElements", [known, alike], "taken", axis=1)
    ends = [integers("first", [0]), integers(f"{name}:longest", [node.longest]), one]
    return NodeValues(
        value("Squeeze", [taken, one], "late"),
        state=value("Slice", [known, *ends], "state"),
    )


# Each entry takes a node of its own type, which these types cannot express.
MAPS: Mapping[type[Node], Callable[[Step, str, Any, str], str]] = {
    Affine: _affine,
    Conv1d: _conv1d,
    Conv2d: _conv2d,
    SumPool2d: _sum_pool2d,
    AvgPool2d: _avg_pool2d,
    Flatten: _flatten,
    Scale: _scale,
}
STATEFUL: Mapping[type[Node], Callable[[Step, str, Any, str, str], NodeValues]] = {
    IF: _if,
    LIF: _lif,
    CubaLIF: _cuba,
    LI: _li,
    CubaLI: _cuba,
    Integrator: _integrator,
    Threshold: _threshold,
    Delay: _delay,
}
KINDS: frozenset[type[Node]] = frozenset({Input, Output, *MAPS, *STATEFUL})
