"""LIF: the leaky integrate-and-fire neuron without a synaptic current."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stars.nodes.base import (
    Array,
    Neuron,
    Shape,
    check_reset,
    check_time_constant,
    fire,
    frozen_population,
)


@dataclass(frozen=True, eq=False)
class LIF(Neuron):
    """One Euler step of dt of tau v' = (v_leak - v) + r x.

        v' = v + (dt / tau) (v_leak - v + r x)
        s  = [v' > v_threshold]
        v  = s v_reset + (1 - s) v'

    Every field has the population's full shape; the membrane starts at v_leak.

    Args:
        tau: membrane time constant, seconds, > 0.
        r: membrane resistance, dimensionless here.
        v_leak, v_threshold, v_reset: volts, relative to a threshold of 1.

    Source: Norse 1.1, `lif_box_feed_forward_step`; NIR 1.0, primitive LIF.
    """

    tau: Array
    r: Array
    v_leak: Array
    v_threshold: Array
    v_reset: Array

    def __post_init__(self) -> None:
        frozen_population(self, tuple(self.parameters()))
        check_time_constant(self.tau, "tau")
        check_reset(self.v_reset, self.v_threshold)

    @classmethod
    def uniform(
        cls,
        shape: Shape,
        *,
        tau: float,
        r: float = 1.0,
        v_leak: float = 0.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
    ) -> LIF:
        """A population of `shape` in which every neuron is alike."""
        values = (tau, r, v_leak, v_threshold, v_reset)
        return cls(*(np.full(shape, value, dtype=np.float64) for value in values))

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.tau.shape

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def initial(self, batch: int) -> Array:
        """v_leak, [batch, *shape]."""
        return np.broadcast_to(self.v_leak, (batch, *self.shape)).copy()

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(spikes as 0. and 1., membrane after the reset)."""
        v = v + (dt / self.tau) * (self.v_leak - v + self.r * current)
        return fire(v, self.v_threshold, self.v_reset)
