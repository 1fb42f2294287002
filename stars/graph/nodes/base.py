"""Base classes of nodes: frozen records of float64 arrays, with shape inference.

A `Map` is a stateless, affine map of one step's values. A `Stateful` node carries a
state from step to step. A `Neuron` is a stateful node with a membrane. Nodes know
nothing of graphs.
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
            GraphError: the node does not accept an input of this shape.
        """
        raise NotImplementedError

    def parameters(self) -> dict[str, object]:
        """Field values by name, in the order of declaration."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __eq__(self, other: object) -> bool:
        """True if `other` has this type and every field is equal bit for bit."""
        if type(self) is not type(other) or not isinstance(other, Node):
            return False
        mine, theirs = self.parameters(), other.parameters()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)  # type: ignore[arg-type]

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Map(Node):
    """A stateless, affine map of one step's values."""

    def apply(self, x: Array) -> Array:
        """The output [B, *output shape] for x [B, *input shape]."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Stateful(Node):
    """A node that carries a state between steps; input and output have one shape."""

    @property
    def shape(self) -> Shape:
        """Shape of input and output."""
        raise NotImplementedError

    def initial(self, batch: int) -> Array:
        """The state before the first step, [batch, *shape of the state]."""
        raise NotImplementedError

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Output [B, *shape], state after the step) for the input `arriving`."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        """The node's shape, which the input must have too."""
        if shape != self.shape:
            raise GraphError(f"input has shape {shape}, expected {self.shape}")
        return shape


@dataclass(frozen=True, eq=False)
class Neuron(Stateful):
    """A population with a membrane. Its output is spikes or, if not `spiking`, v."""

    @property
    def spiking(self) -> bool:
        """True if the output is spikes (0 or 1); else it is the membrane."""
        raise NotImplementedError

    @property
    def decay(self) -> Literal["exact", "truncate"]:
        """Whether the decay keeps every bit or truncates to the membrane's step."""
        return "exact"

    def membrane(self, state: Array) -> Array:
        """The membrane of a state, [B, *shape], volts; by default the state itself."""
        return state


def frozen_array(value: object, name: str, ndim: int | None = None) -> Array:
    """A read-only, finite float64 copy of `value`.

    Raises:
        GraphError: not numeric, not finite, or a wrong number of axes.
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
    """Freeze the named fields of a new population; all must have its full shape.

    Raises:
        GraphError: `frozen_array` refuses a field, or it has no axes, or its shape is
            not that of the first field.
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
    """Raise if a time constant is not positive.

    Raises:
        GraphError: a value is 0 or less.
    """
    if not (value > 0).all():
        raise GraphError(f"{name} is {value.min()} s somewhere; it must be > 0")


def check_reset(v_reset: Array, v_threshold: Array) -> None:
    """Raise if a neuron would spike again after each reset.

    Raises:
        GraphError: v_reset is above v_threshold somewhere.
    """
    if not (v_reset <= v_threshold).all():
        raise GraphError(
            "v_reset is above v_threshold somewhere, so the neuron would never stop"
        )


def check_membrane_step(value: float | None) -> float | None:
    """The membrane's step as a float, volts; None if decays keep every bit.

    Raises:
        GraphError: the step is not a power of two.
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
    """(Spikes as 0.0 and 1.0, membrane after the reset), with s = [v > v_threshold].

    The inequality is strict, as in Norse, NIR and Lava. This is its only definition;
    every other implementation is compared with it.
    """
    spikes = v > v_threshold
    return spikes.astype(np.float64), np.where(spikes, v_reset, v)
