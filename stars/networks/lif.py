"""The student's neurons: a loop over Norse's steps, and the layer around it.

Norse defines the neuron; `stars.networks.fused_lif` computes the same bits faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stars.errors import ConfigError, guess
from stars.networks.fused_lif import SURROGATES, Cell, Population, total
from stars.networks.norse_names import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    LIFFeedForwardState,
    LIFParameters,
    lif_box_feed_forward_step,
    lif_feed_forward_step,
)
from stars.runtime.device import wide

DT = 2.0**-10  # seconds per step; a power of two, so that dt / tau is exact

Backend = Literal["norse-eager", "fused"]


@dataclass(frozen=True)
class LIFConstants:
    """The constants that all neurons of a layer share.

    Args:
        tau: membrane time constant, seconds; dt / tau must be 2^-j for the grid.
        threshold: spike where v > threshold, volts.
        surrogate: Norse's name of the surrogate gradient, a row of SURROGATES. "super"
            is 1 / (|v - threshold| + 1)^2; Norse 1.1 ignores its slope.
        slope: Norse's alpha, for the surrogates that use it.
        tau_synapse: time constant of the current, seconds (Norse's LIF, CUBA); None
            for a current that is not filtered (Norse's LIFBox).

    Raises:
        ConfigError: an unknown surrogate; the message lists the known ones.
    """

    tau: float = 2 * DT
    threshold: float = 1.0
    surrogate: str = "super"
    slope: float = 1.0
    tau_synapse: float | None = None

    def __post_init__(self) -> None:
        if self.surrogate not in SURROGATES:
            raise ConfigError(
                f"surrogate {self.surrogate!r} is"
                f" unknown{guess(self.surrogate, SURROGATES)}; there are"
                f" {list(SURROGATES)}"
            )

    def cell(self, steps: int) -> Cell:
        """The constants of the fused kernels, for T steps."""
        return Cell(
            k=DT * (1.0 / self.tau),
            k_synapse=None if self.tau_synapse is None else DT * (1 / self.tau_synapse),
            threshold=self.threshold,
            surrogate=self.surrogate,
            slope=self.slope,
            steps=steps,
        )

    def norse_step(
        self, like: Tensor
    ) -> tuple[Callable[[Tensor, Any], tuple[Tensor, Any]], Any]:
        """Norse's step with these constants, and its resting state for `like`.

        Leak and reset potentials are 0.
        """
        rest = torch.zeros_like(like)
        common = {
            "tau_mem_inv": 1.0 / self.tau,
            "v_leak": 0.0,
            "v_th": self.threshold,
            "v_reset": 0.0,
            "method": self.surrogate,
            "alpha": self.slope,
        }
        if self.tau_synapse is None:
            box = partial(
                lif_box_feed_forward_step, p=LIFBoxParameters(**common), dt=DT
            )
            return box, LIFBoxFeedForwardState(v=rest)
        cuba = LIFParameters(tau_syn_inv=1.0 / self.tau_synapse, **common)
        state = LIFFeedForwardState(v=rest, i=rest)
        return partial(lif_feed_forward_step, p=cuba, dt=DT), state


def norse_loop(
    currents: Tensor, constants: LIFConstants, steps: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The spikes, and membranes after the reset, of T steps of Norse from rest.

    Args:
        currents: [T, N], or [N], which is held for all steps.
        constants: of the layer.
        steps: T.
    """
    held = currents.ndim == 1
    step, state = constants.norse_step(currents if held else currents[0])
    spikes, membranes = [], []
    for t in range(steps):
        z, state = step(currents if held else currents[t], state)
        spikes.append(z)
        membranes.append(state.v)
    return spikes, membranes


class LIFLayer(nn.Module):
    """A population of equal LIF neurons over T steps; each call starts from rest.

    Args:
        constants: of its neurons.
        steps: T.
        encodes: whether it takes [B, ...] and holds it for all steps; else it takes
            [T B, ...].
        backend: Norse's loop or the fused kernels; recorded passes always use Norse.
    """

    def __init__(
        self, constants: LIFConstants, steps: int, *, encodes: bool, backend: Backend
    ) -> None:
        super().__init__()
        self.constants = constants
        self.steps = steps
        self.encodes = encodes
        self.backend = backend
        self.observer: Callable[[Tensor, Tensor], None] | None = None

    def forward(self, *currents: Tensor) -> Tensor:
        """Currents, which are summed -> spikes [T B, C, H, W], T slowest.

        Under autocast the spikes are bfloat16, in which 0 and 1 are exact.
        """
        rows = [current.permute(0, 2, 3, 1) for current in currents]  # channels last
        slow = () if self.encodes else (self.steps,)
        flat = [row.reshape(*slow, -1) for row in rows]
        batch = len(rows[0]) // (1 if self.encodes else self.steps)
        shape = (self.steps * batch, *rows[0].shape[1:])
        return self._spikes(flat, shape).reshape(shape).permute(0, 3, 1, 2)

    def _spikes(self, currents: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        device = currents[0].device.type
        dtype = wide(currents[0]).dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        if self.backend == "fused" and self.observer is None:
            cell = self.constants.cell(self.steps)
            spikes: Tensor = Population.apply(cell, dtype, *currents)
            return spikes
        recorded = norse_loop(total(currents), self.constants, self.steps)
        spikes, membranes = (torch.stack(values) for values in recorded)
        if self.observer is not None:
            over_time = (self.steps, -1, *shape[1:])
            self.observer(
                *(
                    v.reshape(over_time).permute(0, 1, 4, 2, 3)
                    for v in (spikes, membranes)
                )
            )
        return spikes.to(dtype)
