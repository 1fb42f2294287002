"""Integrator: a membrane without leak and without threshold, for readouts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stars.graph.nodes.base import Array, Neuron, Shape, frozen_population


@dataclass(frozen=True, eq=False)
class Integrator(Neuron):
    """One Euler step of dt of v' = r x. It starts at 0 and never spikes.

        v' = v + dt r x

    Args:
        r: volts per second and unit of input, full shape; with 1 / dt, v is the sum of
            the inputs.

    Source: NIR 1.0, primitive I.
    """

    r: Array

    def __post_init__(self) -> None:
        frozen_population(self, ("r",))

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.r.shape

    @property
    def spiking(self) -> bool:
        """False: the output is the membrane."""
        return False

    def initial(self, batch: int) -> Array:
        """Zeros, [batch, *shape]."""
        return np.zeros((batch, *self.shape))

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(Membrane, membrane)."""
        v = v + dt * self.r * current
        return v, v
