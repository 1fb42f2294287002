"""What every node is: a frozen record of float64 arrays, with shape inference.

A `Map` is a stateless, affine map of one step's values. A `Stateful` node carries a
state from step to step; a `Neuron` is one that has a membrane in it. Nothing here knows
about graphs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

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
class Stateful(Node):
    """A node of one shape, in and out, that carries a state from step to step."""

    @property
    def shape(self) -> Shape:
        """Shape of what comes in and goes out."""
        raise NotImplementedError

    def initial(self, batch: int) -> Array:
        """The state before the first step, [batch, *shape of the state]."""
        raise NotImplementedError

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Output [B, *shape], state after the step); `arriving` is [B, *shape]."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        """The node's own shape, which the input must have."""
        if shape != self.shape:
            raise GraphError(f"input has shape {shape}, expected {self.shape}")
        return shape


@dataclass(frozen=True, eq=False)
class Neuron(Stateful):
    """A population with a membrane. `spiking` says what it hands on: spikes or v."""

    @property
    def spiking(self) -> bool:
        """Whether the output is spikes (0 or 1); else it is the membrane itself."""
        raise NotImplementedError

    @property
    def decay(self) -> Literal["exact", "truncate"]:
        """Whether a decay keeps every bit or truncates to the membrane's step."""
        return "exact"

    def membrane(self, state: Array) -> Array:
        """The membrane in a state, [B, *shape], volts: here the state itself."""
        return state


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


def frozen_population(node: Node, names: Sequence[str]) -> None:
    """Freeze the named fields of a new population; all have one full shape.

    Raises:
        GraphError: a field that `frozen_array` refuses, without axes, or of another
            shape than the first.
    """
    arrays = {name: frozen_array(getattr(node, name), name) for name in names}
    first, shape = names[0], arrays[names[0]].shape
    if not shape:
        raise GraphError(f"{first} has no axes; give it the population's full shape")
    for name, array in arrays.items():
        if array.shape != shape:
            raise GraphError(
                f"{name} has shape {array.shape}, expected {shape} from {first}"
            )
        object.__setattr__(node, name, array)


def check_time_constant(value: Array, name: str) -> None:
    """Refuse time constants that are not positive.

    Raises:
        GraphError: one is not.
    """
    if not (value > 0).all():
        raise GraphError(f"{name} is {value.min()} s somewhere; it must be > 0")


def check_reset(v_reset: Array, v_threshold: Array) -> None:
    """Refuse a reset that spikes again by itself.

    Raises:
        GraphError: v_reset is above v_threshold somewhere.
    """
    if not (v_reset <= v_threshold).all():
        raise GraphError(
            "v_reset lies above v_threshold somewhere: it would never stop"
        )


def check_membrane_step(value: float | None) -> float | None:
    """The membrane's step as a float, volts; None where a decay keeps every bit.

    Raises:
        GraphError: it is no power of two.
    """
    if value is None:
        return None
    step = float(value)
    if not (0 < step < math.inf and math.frexp(step)[0] == 0.5):
        raise GraphError(
            f"membrane_step is {step} V; it must be a power of two, or None"
        )
    return step


def fire(v: Array, v_threshold: Array, v_reset: Array) -> tuple[Array, Array]:
    """(Spikes as 0. and 1., membrane after the reset): s = [v > v_threshold].

    A neuron spikes where v > v_threshold: strictly, as in Norse, NIR and Lava. This is
    the one place that says so; every other implementation is held against it.
    """
    spikes = v > v_threshold
    return spikes.astype(np.float64), np.where(spikes, v_reset, v)
