"""What every node is: a frozen record of float64 arrays, with shape inference.

Two kinds have behaviour: a `Map` is a stateless linear map of one step's values, a
`Neuron` carries a state from step to step. Nothing here knows about graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from stars.errors import GraphError

Array = NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a `SpikingGraph`. Shapes never include steps or batch."""

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`.

        Raises:
            GraphError: the node does not take an input of this shape.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, object]:
        """Field values by name, in the order of declaration."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __eq__(self, other: object) -> bool:
        """True when `other` is of this type and every field is equal bit for bit."""
        if type(self) is not type(other) or not isinstance(other, Node):
            return False
        mine, theirs = self.parameters(), other.parameters()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Map(Node):
    """A stateless, affine map of one step's values."""

    def apply(self, x: Array) -> Array:
        """The map of `x` [B, *input shape] -> [B, *output shape]."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Neuron(Node):
    """A population with a membrane. `spiking` says what it hands on: spikes or v."""

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        raise NotImplementedError

    @property
    def spiking(self) -> bool:
        """Whether the output is spikes (0 or 1); else it is the membrane itself."""
        raise NotImplementedError

    def initial(self, batch: int) -> Array:
        """The membrane before the first step, [batch, *shape], volts."""
        raise NotImplementedError

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(Output, membrane after the step); all are [B, *shape]."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        """The population's own shape, which the input must have."""
        if shape != self.shape:
            raise GraphError(f"input has shape {shape}, expected {self.shape}")
        return shape


def frozen_array(value: object, name: str, ndim: int | None = None) -> Array:
    """A read-only, finite float64 copy of `value`.

    Raises:
        GraphError: not numeric, not finite, or of another number of axes.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GraphError(f"{name} is not a numeric array: {error}") from error
    if ndim is not None and array.ndim != ndim:
        raise GraphError(f"{name} has {array.ndim} axes, expected {ndim}")
    if not np.isfinite(array).all():
        raise GraphError(f"{name} holds NaN or infinity; every value must be finite")
    array.flags.writeable = False
    return array
