"""One step of a SpikingGraph as ONNX operators: the one source of every ONNX form.

Every node of the graph is a few operators, listed in `MAPS` and `NEURONS`. What does
not change from step to step (weights, time constants) is there once for all steps.
All arithmetic is float32. On the grid its sums are exact whatever their order, so a
runtime may fuse and reorder; weights that fit are kept as int8 times a power of two.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stars.dyadic import as_float32, dyadic, largest
from stars.errors import GraphError, MissingDependencyError
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

INT8_LIMIT = 127
FLOAT32_EXPONENTS = range(
    -126, 121
)  # of an int8's unit: no value is subnormal or infinite


def onnx() -> Any:
    """The package onnx, imported when it is needed.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX export: onnx is not installed; run pip install 'stars-snn[onnx]'"
        ) from error


@dataclass
class Constants:
    """What all steps share: initializers, and the operators that dequantise some."""

    initializers: dict[str, Any] = field(default_factory=dict)
    operators: list[Any] = field(default_factory=list)

    def float32(self, name: str, values: Array | float) -> str:
        """A float32 tensor of this very shape."""
        return self._tensor(name, as_float32(values))

    def population(self, name: str, values: Array) -> str:
        """A float32 tensor; a scalar where all neurons are alike, for it broadcasts."""
        alike = bool((values == values.flat[0]).all())
        return self.float32(name, float(values.flat[0]) if alike else values)

    def weight(self, name: str, values: Array) -> str:
        """Weights: int8 times a power of two where that is exact, else float32."""
        if name in self.initializers or f"{name}_int8" in self.initializers:
            return name
        quantised = int8(values)
        if quantised is None:
            return self.float32(name, values)
        integers, scale = quantised
        operands = [
            self._tensor(f"{name}_int8", integers),
            self.float32(f"{name}_scale", scale),
        ]
        make = onnx().helper.make_node
        self.operators.append(make("DequantizeLinear", operands, [name], name=name))
        return name

    def integers(self, name: str, values: Sequence[int] | int) -> str:
        """An int64 tensor, such as axes or an index."""
        return self._tensor(name, np.asarray(values, np.int64))

    def _tensor(self, name: str, values: Any) -> str:
        if name not in self.initializers:
            self.initializers[name] = onnx().numpy_helper.from_array(values, name)
        return name


def int8(values: Array) -> tuple[Any, float] | None:
    """(Int8 mantissas, power of two) whose product `values` is exactly; else None."""
    try:
        exact = dyadic(values, "weight")
    except GraphError:
        return None
    if largest(exact.mantissas) > INT8_LIMIT or exact.exponent not in FLOAT32_EXPONENTS:
        return None
    return exact.mantissas.astype(np.int8), 2.0**exact.exponent


@dataclass
class Step:
    """The operators of one step.

    Args:
        graph: of supported nodes only.
        constants: shared with the other steps.
        prefix: of every name, so that several steps fit into one model.
    """

    graph: SpikingGraph
    constants: Constants
    prefix: str
    operators: list[Any] = field(default_factory=list)

    def value(
        self, kind: str, inputs: Sequence[str], node: str, role: str, **options: Any
    ) -> str:
        """Add an operator of `node`; returns the name of its one output."""
        name = f"{self.prefix}{node}:{role}"
        self.alias(kind, inputs, name, **options)
        return name

    def alias(
        self, kind: str, inputs: Sequence[str], name: str, **options: Any
    ) -> None:
        """Add an operator whose one output has this very name."""
        make = onnx().helper.make_node
        self.operators.append(make(kind, inputs, [name], name=name, **options))


@dataclass(frozen=True)
class StepValues:
    """Names of what one step computed.

    Args:
        output: the value that the graph's output hands on.
        membranes: of each neuron node, after the reset.
        spikes: of each spiking node, bool.
    """

    output: str
    membranes: Mapping[str, str]
    spikes: Mapping[str, str]


@dataclass(frozen=True)
class NeuronValues:
    """Names of what one neuron node computed; see `StepValues`."""

    output: str
    membrane: str
    spikes: str | None


def add_step(step: Step, arriving: str, states: Mapping[str, str]) -> StepValues:
    """Add the operators of all nodes to a step.

    Args:
        step: to add to.
        arriving: name of the input's value.
        states: name of the membrane before the step, by neuron node.
    """
    graph = step.graph
    values = {graph.input: arriving}
    membranes: dict[str, str] = {}
    spikes: dict[str, str] = {}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Input):
            continue
        x = total(step, name, [values[p] for p in graph.predecessors(name)])
        if isinstance(node, Output):
            values[name] = x
        elif type(node) in MAPS:
            values[name] = MAPS[type(node)](step, name, node, x)
        else:
            found = NEURONS[type(node)](step, name, node, x, states[name])
            values[name], membranes[name] = found.output, found.membrane
            if found.spikes is not None:
                spikes[name] = found.spikes
    return StepValues(values[graph.output], membranes, spikes)


def total(step: Step, name: str, values: Sequence[str]) -> str:
    """The sum of the named values, in their order."""
    result = values[0]
    for i, value in enumerate(values[1:]):
        result = step.value("Add", [result, value], name, f"sum{i}")
    return result


def _with_bias(step: Step, name: str, node: Affine | Conv2d, x: str) -> list[str]:
    """Operands: x, the weights, and the bias where there is one."""
    operands = [x, step.constants.weight(f"{name}:weight", node.weight)]
    if node.bias.any():
        operands.append(step.constants.float32(f"{name}:bias", node.bias))
    return operands


def _affine(step: Step, name: str, node: Affine, x: str) -> str:
    return step.value("Gemm", _with_bias(step, name, node, x), name, "dense", transB=1)


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
    """A convolution of each channel with ones, which is exact whatever the area.

    ONNX has no sum pool, and a mean times the area is not the sum: in float32,
    7 / 49 * 49 is not 7. It would be only where the area is a power of two.
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


def _lif(step: Step, name: str, node: LIF, x: str, v: str) -> NeuronValues:
    """One step: v' = v + k (v_leak - v + r x), which spikes above v_threshold."""

    def constant(role: str, values: Array) -> str:
        return step.constants.population(f"{name}:{role}", values)

    def value(kind: str, inputs: list[str], role: str, **options: Any) -> str:
        return step.value(kind, inputs, name, role, **options)

    if (node.r != 1).any():
        x = value("Mul", [x, constant("r", node.r)], "current")
    if node.v_leak.any():
        pull = value("Sub", [constant("v_leak", node.v_leak), v], "pull")
        drive = value("Add", [pull, x], "drive")
    else:  # the same bits from one operator
        drive = value("Sub", [x, v], "drive")
    change = value("Mul", [drive, constant("k", step.graph.dt / node.tau)], "change")
    before = value("Add", [v, change], "before_reset")
    threshold = constant("v_threshold", node.v_threshold)
    fired = value("Greater", [before, threshold], "fired")
    reset = constant("v_reset", node.v_reset)
    after = value("Where", [fired, reset, before], "membrane")
    output = value("Cast", [fired], "spikes", to=onnx().TensorProto.FLOAT)
    return NeuronValues(output, after, fired)


def _integrator(
    step: Step, name: str, node: Integrator, x: str, v: str
) -> NeuronValues:
    """One step: v' = v + dt r x."""
    scale = step.graph.dt * node.r
    if (scale != 1).any():
        factor = step.constants.population(f"{name}:dt_r", scale)
        x = step.value("Mul", [x, factor], name, "change")
    after = step.value("Add", [v, x], name, "membrane")
    return NeuronValues(after, after, None)


# Each entry takes a node of its own type; the tables' types cannot say so.
MAPS: Mapping[type[Node], Callable[[Step, str, Any, str], str]] = {
    Affine: _affine,
    Conv2d: _conv2d,
    SumPool2d: _sum_pool2d,
    AvgPool2d: _avg_pool2d,
    Flatten: _flatten,
}
NEURONS: Mapping[type[Node], Callable[[Step, str, Any, str, str], NeuronValues]] = {
    LIF: _lif,
    Integrator: _integrator,
}
KINDS: frozenset[type[Node]] = frozenset({Input, Output, *MAPS, *NEURONS})
