"""What ONNX operators are made with: constants that all steps share, and one step's.

Weights that fit are kept as int8 times a power of two.
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
    """What all steps share: initializers, and the operators that dequantize some."""

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
class NodeValues:
    """Names of what one stateful node computed; None where it has no such thing.

    Args:
        output: what it hands on.
        membrane: after the reset.
        state: after the step; None where it is the membrane.
        spikes: bool.
    """

    output: str
    membrane: str | None = None
    state: str | None = None
    spikes: str | None = None
