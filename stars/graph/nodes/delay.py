"""Delay: delays each value by a number of steps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Shape, Stateful, frozen_array

SINGLE = 2.0**-23  # relative error of a delay in seconds that was stored as float32


@dataclass(frozen=True, eq=False)
class Delay(Stateful):
    """y_t = x_(t - n), and 0 while t < n.

    The state is [B, N, *shape], with N the largest n: past inputs, the newest first.

    Args:
        steps: n >= 0, integers, full shape; neurons may differ.

    Source: NIR 1.0, primitive Delay: y(t) = x(t - tau), with tau = n dt.
    """

    steps: NDArray[np.int64]

    def __post_init__(self) -> None:
        steps = frozen_array(self.steps, "steps")
        if not steps.ndim:
            raise GraphError("steps has no axes; give it the population's full shape")
        if (steps < 0).any() or (steps != np.rint(steps)).any():
            raise GraphError(
                f"steps are {steps.min()} to {steps.max()}; they must be integers >= 0"
            )
        whole = steps.astype(np.int64)
        whole.flags.writeable = False
        object.__setattr__(self, "steps", whole)

    @classmethod
    def of_seconds(cls, seconds: object, dt: float) -> Delay:
        """Delays given in seconds, each a multiple of `dt`.

        Raises:
            GraphError: a delay is negative, or no multiple within float32 rounding.
        """
        delays = frozen_array(seconds, "delay")
        steps = np.rint(delays / dt)
        off = np.abs(delays - steps * dt) > SINGLE * np.abs(delays)
        if off.any():
            worst = float(delays[off].flat[0])
            raise GraphError(
                f"delay is {worst!r} s, {float(Fraction(worst) / Fraction(dt)):g} steps"
                f" of dt = {dt!r} s; it must be a whole number of steps"
                f" ({int(off.sum())} of {off.size} are not): choose another dt"
            )
        return cls(steps.astype(np.int64))

    @property
    def shape(self) -> Shape:
        """Shape of input and output."""
        return self.steps.shape

    @property
    def longest(self) -> int:
        """N, the largest delay in steps."""
        return int(self.steps.max(initial=0))

    @property
    def holds_everything(self) -> bool:
        """Whether every value is delayed by at least one step."""
        return bool((self.steps > 0).all())

    def shortened(self) -> Delay:
        """A Delay of one step less, for a node behind a delayed edge."""
        return Delay(self.steps - 1)

    def initial(self, batch: int) -> Array:
        """Zeros, [batch, N, *shape]."""
        return np.zeros((batch, self.longest, *self.shape))

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:  # noqa: ARG002 - it counts in steps
        """(Input of n steps ago, state)."""
        known = np.concatenate([arriving[:, None], state], axis=1)
        places = np.broadcast_to(self.steps, (len(arriving), 1, *self.shape))
        return np.take_along_axis(known, places, axis=1)[:, 0], known[:, :-1]
