"""LI: the leaky integrator, a membrane with leak and without threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stars.graph.nodes.base import (
    Array,
    Neuron,
    Shape,
    check_time_constant,
    frozen_population,
)


@dataclass(frozen=True, eq=False)
class LI(Neuron):
    """One Euler step of dt of tau v' = (v_leak - v) + r x. It never spikes.

        v' = v + (dt / tau) (v_leak - v + r x)

    Every field has the population's full shape; the membrane starts at v_leak.

    Args:
        tau: membrane time constant, seconds, > 0.
        r: membrane resistance, dimensionless here.
        v_leak: volts.

    Source: NIR 1.0, primitive LI; Norse 1.1, `li_box_feed_forward_step`.
    """

    tau: Array
    r: Array
    v_leak: Array

    def __post_init__(self) -> None:
        frozen_population(self, tuple(self.parameters()))
        check_time_constant(self.tau, "tau")

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.tau.shape

    @property
    def spiking(self) -> bool:
        """False: the output is the membrane."""
        return False

    def initial(self, batch: int) -> Array:
        """v_leak, [batch, *shape]."""
        return np.broadcast_to(self.v_leak, (batch, *self.shape)).copy()

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(Membrane, membrane)."""
        v = v + (dt / self.tau) * (self.v_leak - v + self.r * current)
        return v, v
