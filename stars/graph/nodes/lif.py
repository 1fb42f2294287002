"""LIF: the leaky integrate-and-fire neuron without a synaptic current."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stars.graph.nodes.base import (
    Array,
    Neuron,
    Shape,
    check_membrane_step,
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

    Every field but the last has the population's full shape; the membrane starts at
    v_leak. With a `membrane_step` g the decay truncates, as on a chip with integer
    membranes; nothing else rounds:

        v' = v_leak + g trunc((1 - dt / tau) (v - v_leak) / g) + (dt / tau) r x

    trunc rounds toward zero. The other two lines do not change.

    Args:
        tau: membrane time constant, seconds, > 0.
        r: membrane resistance, dimensionless here.
        v_leak, v_threshold, v_reset: volts, relative to a threshold of 1.
        membrane_step: g, volts, a power of two; None keeps every bit of the decay.

    Source: Norse 1.1, `lif_box_feed_forward_step`; NIR 1.0, primitive LIF. The
    truncation: lava-nc 0.10, `proc/lif/models.py`, AbstractPyLifModelFixed.
    """

    tau: Array
    r: Array
    v_leak: Array
    v_threshold: Array
    v_reset: Array
    membrane_step: float | None = None

    def __post_init__(self) -> None:
        names = [name for name in self.parameters() if name != "membrane_step"]
        frozen_population(self, names)
        check_time_constant(self.tau, "tau")
        check_reset(self.v_reset, self.v_threshold)
        step = check_membrane_step(self.membrane_step)
        object.__setattr__(self, "membrane_step", step)

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
        """A population of `shape` with equal neurons."""
        return cls(
            tau=np.full(shape, tau),
            r=np.full(shape, r),
            v_leak=np.full(shape, v_leak),
            v_threshold=np.full(shape, v_threshold),
            v_reset=np.full(shape, v_reset),
        )

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.tau.shape

    @property
    def decay(self) -> Literal["exact", "truncate"]:
        """The value "truncate" if the node has a membrane_step, else "exact"."""
        return "exact" if self.membrane_step is None else "truncate"

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def initial(self, batch: int) -> Array:
        """v_leak, [batch, *shape]."""
        return np.broadcast_to(self.v_leak, (batch, *self.shape)).copy()

    def step(self, current: Array, v: Array, dt: float) -> tuple[Array, Array]:
        """(Spikes as 0.0 and 1.0, membrane after the reset)."""
        k = dt / self.tau
        if self.membrane_step is None:
            v = v + k * (self.v_leak - v + self.r * current)
        else:
            kept = np.trunc((1 - k) * (v - self.v_leak) / self.membrane_step)
            v = self.v_leak + kept * self.membrane_step + k * self.r * current
        return fire(v, self.v_threshold, self.v_reset)
