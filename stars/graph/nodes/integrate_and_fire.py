"""IF: the integrate-and-fire neuron, a membrane without leak, with a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stars.graph.nodes.base import (
    Array,
    Neuron,
    Shape,
    check_reset,
    fire,
    frozen_population,
)


@dataclass(frozen=True, eq=False)
class IF(Neuron):
    """One Euler step of dt of v' = r x.

        v' = v + dt r x
        s  = [v' > v_threshold]
        v  = s v_reset + (1 - s) v'

    Every field has the population's full shape; the membrane starts at 0.

    Args:
        r: volts per second and unit of input; with 1 / dt, v is the sum of the inputs.
        v_threshold, v_reset: volts.

    Source: NIR 1.0, primitive IF.
    """

    r: Array
    v_threshold: Array
    v_reset: Array

    def __post_init__(self) -> None:
        frozen_population(self, tuple(self.parameters()))
        check_reset(self.v_reset, self.v_threshold)

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.r.shape

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def initial(self, batch: int) -> Array:
        """Zeros, [batch, *shape]."""
        return np.zeros((batch, *self.shape))

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(Spikes as 0.0 and 1.0, membrane after the reset)."""
        return fire(v + dt * self.r * current, self.v_threshold, self.v_reset)
