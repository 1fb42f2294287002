"""CubaLI and CubaLIF: a synaptic current that decays, and the membrane it drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stars.errors import GraphError
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
class CubaLI(Neuron):
    """One Euler step of dt: first the current, then the membrane with the new current.

        tau_syn u' = -u + w_in x          u' = u + (dt / tau_syn) (w_in x - u)
        tau_mem v' = (v_leak - v) + r u   v' = v + (dt / tau_mem) (v_leak - v + r u')

    Every field has the population's full shape. The state is [B, 2, *shape]: u starts
    at 0, and v starts at v_leak.

    Args:
        tau_syn, tau_mem: time constants of current and membrane, seconds, > 0.
        r: membrane resistance, dimensionless here.
        v_leak: volts.
        w_in: weight of the input, elementwise.

    Source: NIR 1.0, primitive CubaLI. The membrane uses the current of the same step,
        as in Norse 1.1 (`from_nir`), snnTorch (`Synaptic`) and Lava (`LIF`).
    Differs: NIR gives no discrete form. In `nir_reference_impl.py` of its paper's
        repository the membrane uses the current of the previous step.
    """

    tau_syn: Array
    tau_mem: Array
    r: Array
    v_leak: Array
    w_in: Array

    def __post_init__(self) -> None:
        names = [name for name in self.parameters() if name != "membrane_step"]
        frozen_population(self, names)
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
        """The membrane v of the state, [B, *shape]."""
        return state[:, 1]

    def integrate(self, x: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Current, membrane before any reset) after one step."""
        u, v = state[:, 0], state[:, 1]
        u = u + (dt / self.tau_syn) * (self.w_in * x - u)
        return u, v + (dt / self.tau_mem) * (self.v_leak - v + self.r * u)

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Membrane, state)."""
        u, v = self.integrate(arriving, state, dt)
        return v, np.stack([u, v], axis=1)


@dataclass(frozen=True, eq=False)
class CubaLIF(CubaLI):
    """A `CubaLI` that spikes; its current is not reset.

        s = [v' > v_threshold]      v = s v_reset + (1 - s) v'

    With a `membrane_step` g both decays truncate, as on a chip with integer currents
    and membranes; nothing else rounds. With k_u = dt / tau_syn, k_v = dt / tau_mem and
    h = g / (k_v r), which is the current that moves v by g:

        u' = h trunc((1 - k_u) u / h) + k_u w_in x
        v' = v_leak + g trunc((1 - k_v) (v - v_leak) / g) + k_v r u'

    trunc rounds toward zero. Spike and reset do not change.

    Args:
        v_threshold, v_reset: volts.
        membrane_step: g, volts, a power of two; every r must then be a power of two
            too. None keeps every bit of both decays.

    Source: NIR 1.0, primitive CubaLIF. The truncation: lava-nc 0.10,
        `proc/lif/models.py`, AbstractPyLifModelFixed.
    """

    v_threshold: Array
    v_reset: Array
    membrane_step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_reset(self.v_reset, self.v_threshold)
        step = check_membrane_step(self.membrane_step)
        object.__setattr__(self, "membrane_step", step)
        if step is not None and (np.abs(np.frexp(self.r)[0]) != 0.5).any():
            raise GraphError(
                "with a membrane_step every r must be a power of two; move other"
                " factors into w_in"
            )

    @classmethod
    def uniform(
        cls,
        shape: Shape,
        *,
        tau_syn: float,
        tau_mem: float,
        r: float = 1.0,
        w_in: float = 1.0,
        v_threshold: float = 1.0,
        rest: float = 0.0,
    ) -> CubaLIF:
        """A population of `shape` with equal neurons.

        They leak to `rest`, volts, and reset to it.
        """
        return cls(
            tau_syn=np.full(shape, tau_syn),
            tau_mem=np.full(shape, tau_mem),
            r=np.full(shape, r),
            v_leak=np.full(shape, rest),
            w_in=np.full(shape, w_in),
            v_threshold=np.full(shape, v_threshold),
            v_reset=np.full(shape, rest),
        )

    @property
    def decay(self) -> Literal["exact", "truncate"]:
        """The value "truncate" if the node has a membrane_step, else "exact"."""
        return "exact" if self.membrane_step is None else "truncate"

    def current_step(self, dt: float) -> Array:
        """The step of a truncated current: h = g tau_mem / (dt r).

        Raises:
            GraphError: the decays of this node do not truncate.
        """
        if self.membrane_step is None:
            raise GraphError(
                "the current has no step, because the node has no membrane_step"
            )
        step: Array = self.membrane_step / (dt / self.tau_mem * self.r)
        return step

    def integrate(self, x: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Current, membrane before any reset) after one step."""
        if self.membrane_step is None:
            return super().integrate(x, state, dt)
        k_u, k_v = dt / self.tau_syn, dt / self.tau_mem
        g, h = self.membrane_step, self.current_step(dt)
        u, v = state[:, 0], state[:, 1]
        u = h * np.trunc((1 - k_u) * u / h) + k_u * self.w_in * x
        kept = g * np.trunc((1 - k_v) * (v - self.v_leak) / g)
        return u, self.v_leak + kept + k_v * self.r * u

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def step(self, arriving: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Spikes as 0.0 and 1.0, state after the reset)."""
        u, v = self.integrate(arriving, state, dt)
        spikes, v = fire(v, self.v_threshold, self.v_reset)
        return spikes, np.stack([u, v], axis=1)
