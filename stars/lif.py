"""Norse's LIFBox over time: the plain loop, and the same loop compiled into one kernel.

The loop calls Norse's own step, so Norse stays the definition of the student's neuron.
The compiled loop is the same function through torch.compile, and a law test holds the
two equal bit for bit, forward and backward.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from norse.torch.functional.lif_box import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    lif_box_feed_forward_step,
)
from torch import Tensor, nn
from torch._functorch import config as functorch

from stars.errors import ConfigError

log = logging.getLogger(__name__)

DT = 2.0**-10  # seconds a step; a power of two, so that dt / tau is exact

Backend = Literal["norse-eager", "fused"]

SURROGATES = ("super", "triangle", "tanh", "circ", "heavi_erfc")
# Of the others the compiled gradient differs from the plain one in the last bit.
FUSED_SURROGATES = ("super", "triangle")


@dataclass(frozen=True)
class LIFConstants:
    """One layer's neuron, the same for all of its members.

    Args:
        tau: membrane time constant, seconds; dt / tau must be 2^-j for the grid.
        threshold: spike where v > threshold, volts.
        surrogate: Norse's name of the derivative that replaces the step's, one of
            SURROGATES; "super" is 1 / (|v - threshold| + 1)^2 in Norse 1.1, which
            ignores its slope there.
        slope: Norse's alpha, for the surrogates that read it.

    Raises:
        ConfigError: an unknown surrogate; lists what there is.
    """

    tau: float = 2 * DT
    threshold: float = 1.0
    surrogate: str = "super"
    slope: float = 1.0

    def __post_init__(self) -> None:
        if self.surrogate not in SURROGATES:
            raise ConfigError(
                f"surrogate {self.surrogate!r} is unknown; there are {list(SURROGATES)}"
            )

    def norse(self) -> LIFBoxParameters:
        """The parameters of Norse's cell; leak and reset are 0."""
        return LIFBoxParameters(
            tau_mem_inv=1.0 / self.tau,
            v_leak=0.0,
            v_th=self.threshold,
            v_reset=0.0,
            method=self.surrogate,
            alpha=self.slope,
        )


def norse_loop(
    currents: Tensor, constants: LIFConstants, steps: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes and membranes after the reset of T steps from rest, by Norse's step.

    Args:
        currents: [T, N], or [N] that is held for all steps.
        constants: of the layer.
        steps: T.
    """
    held = currents.ndim == 1
    parameters = constants.norse()
    state = LIFBoxFeedForwardState(
        v=torch.zeros_like(currents if held else currents[0])
    )
    spikes, membranes = [], []
    for t in range(steps):
        current = currents if held else currents[t]
        z, state = lif_box_feed_forward_step(current, state, parameters, DT)
        spikes.append(z)
        membranes.append(state.v)
    return spikes, membranes


def spikes_over_time(currents: Tensor, constants: LIFConstants, steps: int) -> Tensor:
    """Spikes [T, N] of `norse_loop`; what is compiled."""
    return torch.stack(norse_loop(currents, constants, steps)[0])


@cache
def fused() -> Callable[[Tensor, LIFConstants, int], Tensor]:
    """`spikes_over_time` compiled into one kernel forward and one backward.

    Without a C++ compiler it is the plain loop, and a line in the log says so.
    """
    if not has_compiler():
        log.warning(
            "backend 'fused' needs a C++ compiler and found none; running Norse's loop,"
            " which gives the same bits more slowly (install g++, or set CXX)"
        )
        return spikes_over_time
    # The synthesis takes the gradient of each prior, so the graph is used twice.
    functorch.donated_buffer = False
    return torch.compile(spikes_over_time, dynamic=True)


def has_compiler() -> bool:
    """Whether torch.compile can build a CPU kernel here, which needs a C++ compiler."""
    named = os.environ.get("CXX", "g++").split()[:1]
    return any(shutil.which(name) for name in (*named, "clang++"))


class LIFLayer(nn.Module):
    """A population of alike LIF neurons over time, from rest at every call.

    Args:
        constants: of its neurons.
        steps: T.
        encodes: takes [B, ...] and holds it for all steps; else takes [T B, ...].
        backend: the plain loop or the compiled one; a recorded pass is always plain.

    Raises:
        ConfigError: a surrogate that is not the same to the bit when compiled.
    """

    def __init__(
        self, constants: LIFConstants, steps: int, *, encodes: bool, backend: Backend
    ) -> None:
        super().__init__()
        if backend == "fused" and constants.surrogate not in FUSED_SURROGATES:
            raise ConfigError(
                f"backend 'fused' has the surrogates {list(FUSED_SURROGATES)}, found"
                f" {constants.surrogate!r}; choose one, or backend 'norse-eager'"
            )
        self.constants = constants
        self.steps = steps
        self.encodes = encodes
        self.backend = backend
        self.observer: Callable[[Tensor, Tensor], None] | None = None

    def forward(self, current: Tensor) -> Tensor:
        """Currents -> spikes [T B, C, H, W]; T is the slow half of the first axis."""
        batch = current.shape[0] if self.encodes else current.shape[0] // self.steps
        rows = current.permute(0, 2, 3, 1)  # channels last is the memory's order
        shape = (self.steps * batch, *rows.shape[1:])
        flat = rows.reshape(-1) if self.encodes else rows.reshape(self.steps, -1)
        spikes = self._spikes(flat, shape)
        return spikes.reshape(shape).permute(0, 3, 1, 2)

    def _spikes(self, currents: Tensor, shape: tuple[int, ...]) -> Tensor:
        if self.observer is None:
            run = fused() if self.backend == "fused" else spikes_over_time
            return run(currents, self.constants, self.steps)
        recorded = norse_loop(currents, self.constants, self.steps)
        spikes, membranes = (torch.stack(values) for values in recorded)
        over_time = (self.steps, -1, *shape[1:])
        self.observer(
            *(v.reshape(over_time).permute(0, 1, 4, 2, 3) for v in (spikes, membranes))
        )
        return spikes
