"""CubaLI and CubaLIF: a synaptic current that decays, and the membrane it drives."""

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
class CubaLI(Neuron):
    """One Euler step of dt, the current first, then the membrane with the new current.

        tau_syn u' = -u + w_in x          u' = u + (dt / tau_syn) (w_in x - u)
        tau_mem v' = (v_leak - v) + r u   v' = v + (dt / tau_mem) (v_leak - v + r u')

    Every field has the population's full shape. The state is [B, 2, *shape]: u, which
    starts at 0, and v, which starts at v_leak.

    Args:
        tau_syn, tau_mem: time constants of current and membrane, seconds, > 0.
        r: membrane resistance, dimensionless here.
        v_leak: volts.
        w_in: weight of the input, elementwise.

    Source: NIR 1.0, primitive CubaLI. That the membrane sees the current of its own
        step is how Norse 1.1 (`from_nir`), snnTorch (`Synaptic`), Lava (`LIF`) step.
    Differs: NIR gives no discrete form; `nir_reference_impl.py` in the repository of
        its paper lets the membrane see the current of the step before: one step later.
    """

    tau_syn: Array
    tau_mem: Array
    r: Array
    v_leak: Array
    w_in: Array

    def __post_init__(self) -> None:
        frozen_population(self, tuple(self.parameters()))
        check_time_constant(self.tau_syn, "tau_syn")
        check_time_constant(self.tau_mem, "tau_mem")

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.tau_mem.shape

    @property
    def spiking(self) -> bool:
        """False: the output is the membrane."""
        return False

    def initial(self, batch: int) -> Array:
        """Current 0 and membrane v_leak, [batch, 2, *shape]."""
        first = np.stack([np.zeros(self.shape), self.v_leak])
        return np.broadcast_to(first, (batch, *first.shape)).copy()

    def membrane(self, state: Array) -> Array:
        """The second of the two, [B, *shape]."""
        return state[:, 1]

    def integrate(self, x: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(current, membrane before any reset) after one step."""
        u, v = state[:, 0], state[:, 1]
        u = u + (dt / self.tau_syn) * (self.w_in * x - u)
        return u, v + (dt / self.tau_mem) * (self.v_leak - v + self.r * u)

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(membrane, current and membrane)."""
        u, v = self.integrate(arriving, state, dt)
        return v, np.stack([u, v], axis=1)


@dataclass(frozen=True, eq=False)
class CubaLIF(CubaLI):
    """A `CubaLI` that spikes; its current is not reset.

        s = [v' > v_threshold]      v = s v_reset + (1 - s) v'

    Args:
        v_threshold, v_reset: volts.

    Source: NIR 1.0, primitive CubaLIF.
    """

    v_threshold: Array
    v_reset: Array

    def __post_init__(self) -> None:
        super().__post_init__()
        check_reset(self.v_reset, self.v_threshold)

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(spikes as 0. and 1., current and membrane after the reset)."""
        u, v = self.integrate(arriving, state, dt)
        spikes, v = fire(v, self.v_threshold, self.v_reset)
        return spikes, np.stack([u, v], axis=1)
