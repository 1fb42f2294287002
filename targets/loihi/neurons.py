"""Neurons over all steps in the chip's arithmetic: a compiled loop, or numpy.

If numba is installed, it compiles a loop over single neurons. Otherwise numpy runs the
same equations over whole arrays, with equal results at a sixth of the speed. See
`targets.loihi.emulator` for the equations, their bounds and their source.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from stars.graph.nodes import Array
from stars.grid.plan import MEMBRANE_LIMIT

Values = NDArray[Any]

WRAP = 2**23
SPAN = 1024  # neurons that run all steps together, so that their state stays in L1


@dataclass(frozen=True, eq=False)
class Neurons:
    """The constants of a population, in the chip's membrane steps.

    Args:
        bias: [N]; its type, float32 or float64, is the type of all arithmetic here.
        keep_current: fraction of the current kept in a step; 0 without memory.
        keep: fraction of the membrane kept in a step.
        threshold: infinity for a readout.
        volt: volts of one step.
        offset: volts of a membrane of 0.
    """

    bias: Values
    keep_current: float
    keep: float
    threshold: float
    volt: float
    offset: float

    def currents(self, drive: Values, steps: int) -> Values:
        """The synaptic current in its register at each step, [T, B, N].

        Args:
            drive: input current, [T or 1, B, N]; a single step stands for all.
            steps: T.
        """
        found = np.empty((steps, *drive.shape[1:]), self.bias.dtype)
        over_steps = compiled(current_loop) if numba_is_there() else current_passes
        constants = np.array([self.keep_current, WRAP], found.dtype)
        over_steps(np.ascontiguousarray(drive), constants, found)
        return found

    def run(
        self, drive: Values, steps: int, record: Array | None, *, wrapped: bool = False
    ) -> NDArray[np.bool_]:
        """Spikes [T, B, N]; writes membranes in volts after the reset to `record`.

        Args:
            drive: input current, [T or 1, B, N]; a single step stands for all.
            steps: T.
            record: [T, B, N], or None for no record.
            wrapped: True if `drive` comes from `currents`, as it must if the current
                has a memory. A register wraps once.
        """
        fired = np.empty((steps, *drive.shape[1:]), np.bool_)
        over_steps = compiled(loop) if numba_is_there() else passes_of_numpy
        kind = self.bias.dtype.type
        bound = math.inf if wrapped else WRAP
        over_steps(
            np.ascontiguousarray(drive),
            self.bias,
            np.array([self.keep, self.threshold, MEMBRANE_LIMIT, bound], kind),
            fired,
            np.empty((0, *drive.shape[1:])) if record is None else record,
            (self.volt, self.offset),
        )
        return fired


def numba_is_there() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


@cache
def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """`function` compiled by numba without the GIL, cached on disk."""
    folder = platformdirs.user_cache_path("stars") / "kernels"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    numba = importlib.import_module("numba")
    machine_code: Callable[..., None] = numba.njit(nogil=True, cache=True)(function)
    return machine_code


def current_loop(drive: Values, constants: Values, found: Values) -> None:
    """Currents with a memory over all steps, SPAN neurons at a time.

    Args:
        drive: [T or 1, B, N].
        constants: fraction kept of a current, and its bound.
        found: [T, B, N], written here.
    """
    steps, batch, size = found.shape
    keep, bound = constants
    for b in range(batch):
        for start in range(0, size, SPAN):
            count = min(SPAN, size - start)
            u = np.zeros(count, drive.dtype)
            for t in range(steps):
                arriving = drive[min(t, len(drive) - 1), b, start : start + count]
                row = found[t, b, start : start + count]
                for i in range(count):
                    current = np.trunc(u[i] * keep) + arriving[i]
                    if current > bound:
                        current -= bound + bound
                    elif current <= -bound:
                        current += bound + bound
                    u[i] = current
                    row[i] = current


def current_passes(drive: Values, constants: Values, found: Values) -> None:
    """`current_loop` over whole arrays."""
    keep, bound = constants
    u = np.zeros_like(drive[0])
    for t in range(len(found)):
        u = wrapped(np.trunc(u * keep) + drive[min(t, len(drive) - 1)], bound)
        found[t] = u


def loop(
    drive: Values,
    bias: Values,
    constants: Values,
    fired: Values,
    record: Values,
    scale: tuple[float, float],
) -> None:
    """Runs all steps of SPAN neurons at a time.

    Args:
        drive: [T or 1, B, N].
        bias: [N].
        constants: fraction kept of a membrane, threshold, bound of the membrane, bound
            of the current.
        fired: spikes [T, B, N], written here.
        record: membranes in volts [T, B, N], written here; of length 0 for no record.
        scale: volts of one step, and volts of a membrane of 0.
    """
    steps, batch, size = fired.shape
    keep, threshold, limit, bound = constants
    volt, offset = scale
    zero = limit - limit
    v = np.empty(SPAN, drive.dtype)
    for b in range(batch):
        for start in range(0, size, SPAN):
            count = min(SPAN, size - start)
            v[:] = zero
            each_bias = bias[start : start + count]
            for t in range(steps):
                arriving = drive[min(t, len(drive) - 1), b, start : start + count]
                spikes = fired[t, b, start : start + count]
                for i in range(count):
                    current = arriving[i]
                    if current > bound:
                        current -= bound + bound
                    elif current <= -bound:
                        current += bound + bound
                    membrane = np.trunc(v[i] * keep) + (current + each_bias[i])
                    membrane = min(max(membrane, -limit), limit)
                    spikes[i] = membrane > threshold
                    v[i] = zero if spikes[i] else membrane
                if len(record):
                    volts = record[t, b, start : start + count]
                    for i in range(count):
                        volts[i] = v[i] * volt + offset


def passes_of_numpy(
    drive: Values,
    bias: Values,
    constants: Values,
    fired: Values,
    record: Values,
    scale: tuple[float, float],
) -> None:
    """`loop` over whole arrays."""
    keep, threshold, limit, bound = constants
    volt, offset = scale
    v = np.zeros_like(drive[0])
    for t in range(len(fired)):
        current = wrapped(drive[min(t, len(drive) - 1)], bound)
        v *= keep
        np.trunc(v, out=v)
        v += current + bias
        np.clip(v, -limit, limit, out=v)
        np.greater(v, threshold, out=fired[t])
        v *= ~fired[t]
        if len(record):
            np.multiply(v, volt, out=record[t], dtype=np.float64)
            record[t] += offset


def wrapped(u: Values, bound: float) -> Values:
    """A current wrapped once to 24 bits, as Lava does."""
    above, below = u > bound, u <= -bound
    if not (above.any() or below.any()):
        return u
    return np.where(above, u - 2 * bound, np.where(below, u + 2 * bound, u))
