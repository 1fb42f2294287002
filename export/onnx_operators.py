"""Builders of ONNX operators: `Constants`, shared by all steps, and `Step`, one step.

Weights are stored as int8 times a power of two if that is exact.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stars.errors import GraphError, MissingDependencyError
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.exact import as_float32, dyadic, largest

INT8_LIMIT = 127
FLOAT32_EXPONENTS = range(
    -126, 121
)  # of an int8's unit: no value is subnormal or infinite


def onnx() -> Any:
    """The package onnx, imported on first use.

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
    """The initializers that all steps share, and the operators that dequantize them."""

    initializers: dict[str, Any] = field(default_factory=dict)
    operators: list[Any] = field(default_factory=list)

    def float32(self, name: str, values: Array | float) -> str:
        """Add a float32 tensor of the shape of `values`."""
        return self._tensor(name, as_float32(values))

    def population(self, name: str, values: Array) -> str:
        """Add a float32 tensor; a scalar if all neurons are equal."""
        alike = bool((values == values.flat[0]).all())
        return self.float32(name, float(values.flat[0]) if alike else values)

    def weight(self, name: str, values: Array) -> str:
        """Add weights: int8 times a power of two if that is exact, else float32."""
        if name in self.initializers or f"{name}_int8" in self.initializers:
            return name
        quantized = int8(values)
        if quantized is None:
            return self.float32(name, values)
        integers, scale = quantized
        operands = [
            self._tensor(f"{name}_int8", integers),
            self.float32(f"{name}_scale", scale),
        ]
        make = onnx().helper.make_node
        self.operators.append(make("DequantizeLinear", operands, [name], name=name))
        return name

    def integers(self, name: str, values: Any) -> str:
        """Add an int64 tensor, such as axes or an index."""
        return self._tensor(name, np.asarray(values, np.int64))

    def _tensor(self, name: str, values: Any) -> str:
        if name not in self.initializers:
            self.initializers[name] = onnx().numpy_helper.from_array(values, name)
        return name


def int8(values: Array) -> tuple[Any, float] | None:
    """(int8 mantissas, power of two) with the exact product `values`; else None."""
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
        prefix: of all names, so that one model can hold several steps.
    """

    graph: SpikingGraph
    constants: Constants
    prefix: str
    operators: list[Any] = field(default_factory=list)

    def value(
        self, kind: str, inputs: Sequence[str], node: str, role: str, **options: Any
    ) -> str:
        """Add an operator of `node`; returns the name of its output."""
        name = f"{self.prefix}{node}:{role}"
        self.alias(kind, inputs, name, **options)
        return name

    def alias(
        self, kind: str, inputs: Sequence[str], name: str, **options: Any
    ) -> None:
        """Add an operator whose output is called `name`."""
        make = onnx().helper.make_node
        self.operators.append(make(kind, inputs, [name], name=name, **options))


@dataclass(frozen=True)
class NodeValues:
    """Names of the values that one stateful node computed; None if it has none.

    Args:
        output: the node's output.
        membrane: after the reset.
        state: after the step; None if it is the membrane.
        spikes: bool.
    """

    output: str
    membrane: str | None = None
    state: str | None = None
    spikes: str | None = None
