"""The arithmetic of Lava's fixed-point processes, batched: what a Loihi would do.

One step of a population, in the chip's integers, 64 of them to one unit of the plan:

    u = wrap(current << 6)                          du = 4095: no current is kept
    v = clip(trunc(v (4096 - dv) / 4096) + u + bias)
    s = [v > threshold << 6];   v = 0 where s

The division truncates toward zero; u wraps once at +-2^23, v is clipped to
+-(2^23 - 1). Source: lava-nc 0.10, `proc/lif/models.py`, AbstractPyLifModelFixed.
Populations run one after the other over all steps, for nothing flows back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.bounds import magnitude
from stars.errors import DataError
from stars.graph import SpikingGraph
from stars.nodes import Array
from stars.plan import (
    MEMBRANE_LIMIT,
    STATE_SHIFT,
    IntegerPlan,
    Population,
    accumulator_interval,
    lower,
)
from stars.reference import check_inputs
from stars.trace import Trace

WRAP = 2**23
FLOAT32_BITS = 24
DENSE_FROM = 1 / 24  # share of entries from which a dense product is the faster one
DENSE_LIMIT = 2**26  # entries of a dense matrix, 256 MB


class LoihiEmulator:
    """Lava fixed_pt in numpy; by a certificate, equal to the reference."""

    name = "loihi"
    description = "integer arithmetic of Loihi as Lava fixed_pt defines it, emulated"
    chunk = 200  # larger ones leave the processor's caches and are slower

    def unavailable(self) -> str | None:
        """None: it needs nothing but numpy and scipy."""
        return None

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape].

        Raises:
            GraphError: the graph is off the grid.
            LimitError: it does not fit the chip; holds every violation.
            UnsupportedNodeError: a node without integer form.
            DataError: inputs off the input's grid.
        """
        inputs = check_inputs(graph, inputs)
        return emulate(lower(graph), inputs)


def emulate(plan: IntegerPlan, inputs: Array) -> Trace:
    """The trace of a plan on inputs [T, B, *input shape], in volts, exact.

    Raises:
        DataError: an input is not one of the integers that the plan allows.
    """
    steps = inputs.shape[0]
    arriving: dict[str, NDArray[Any]] = {plan.input_name: integer_inputs(plan, inputs)}
    intervals = plan.intervals()
    spikes: dict[str, NDArray[np.bool_]] = {}
    membranes: dict[str, Array] = {}
    for population in plan.populations:
        current = current_into(plan, population, arriving, intervals)
        fired, v = run_population(population, current, steps)
        shape = (*v.shape[:2], *population.shape)
        volts = np.ldexp(v.astype(np.float64), population.exponent - STATE_SHIFT)
        membranes[population.name] = (volts + population.offset).reshape(shape)
        if population.spiking:
            spikes[population.name] = fired.reshape(shape)
            arriving[population.name] = fired
    return Trace(spikes, membranes, plan.populations[-1].name)


def integer_inputs(plan: IntegerPlan, inputs: Array) -> NDArray[np.float32]:
    """Inputs as the integers q, [T or 1, B, N]; one step where the input is held.

    Raises:
        DataError: a value off the input's grid or outside its interval.
    """
    held = inputs[:1] if inputs.strides[0] == 0 else inputs
    q = np.ldexp(held, -plan.input_exponent).reshape(*held.shape[:2], -1)
    wrong = (q != np.rint(q)) | (q < plan.input_low) | (q > plan.input_high)
    if wrong.any():
        value = float(q[wrong][0]) * 2.0**plan.input_exponent
        raise DataError(
            f"input {plan.input_name!r} holds {value!r}; allowed are multiples of"
            f" 2^{plan.input_exponent}, from {int(plan.input_low.min())} to"
            f" {int(plan.input_high.max())} of them, within each value's own interval"
        )
    return q.astype(np.float32)


def current_into(
    plan: IntegerPlan,
    population: Population,
    arriving: Mapping[str, NDArray[Any]],
    intervals: Mapping[str, Any],
) -> NDArray[Any]:
    """The sum of all that arrives, [T or 1, B, N], units; int32 where it suffices."""
    connections = plan.into(population.name)
    low, high = accumulator_interval(population, connections, intervals)
    small = max(-int(low.min()), int(high.max())) < WRAP
    total: NDArray[Any] = np.zeros((1, 1, 1), np.int32 if small else np.int64)
    for connection in connections:
        reach = magnitude(connection.weights, *intervals[connection.source])
        exact = np.float32 if reach.max() <= 2**FLOAT32_BITS else np.float64
        part = product(connection.weights, arriving[connection.source], exact)
        part = part.astype(total.dtype)
        total = total + (part << connection.shift)
    return total


def product(
    weights: csr_array, x: NDArray[Any], kind: type[np.floating[Any]]
) -> NDArray[Any]:
    """The product weights @ x for x [T, B, N source] -> [T, B, N target].

    Exact in any order of summation: float32 while sum |w| |x| <= 2^24 for every row,
    float64 up to 2^53, which 8-bit weights cannot leave.
    """
    flat = x.reshape(-1, x.shape[-1])
    size = math.prod(weights.shape)
    if weights.nnz >= size * DENSE_FROM and size <= DENSE_LIMIT:
        result = flat.astype(kind) @ weights.astype(kind).toarray().T
    else:
        result = (weights.astype(kind) @ flat.T.astype(kind, order="C")).T
    return np.asarray(result.reshape(*x.shape[:2], -1))


def run_population(
    population: Population, current: NDArray[Any], steps: int
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """(spikes, membranes after the reset), [T, B, N], the chip's integers.

    The current, [T or 1, B, N], is in units; one step of it stands for all.
    """
    shape = (steps, *current.shape[1:])
    fired, membranes = np.zeros(shape, bool), np.empty(shape, np.int32)
    bias = (population.bias << STATE_SHIFT).astype(np.int32)
    v = np.zeros(shape[1:], np.int32)
    for t in range(steps):
        if t < len(current):
            drive = wrap(current[t] << STATE_SHIFT) + bias
        v = np.clip(decay(v, population) + drive, -MEMBRANE_LIMIT, MEMBRANE_LIMIT)
        if population.threshold is not None:
            np.greater(v, population.threshold << STATE_SHIFT, out=fired[t])
            v[fired[t]] = 0
        membranes[t] = v
    return fired, membranes


def wrap(u: NDArray[Any]) -> NDArray[Any]:
    """A current as the 24-bit register holds it; Lava wraps once, and so does this."""
    if max(int(u.max(initial=0)), -int(u.min(initial=0))) < WRAP:
        return u
    wrapped = np.where(u > WRAP, u - 2 * WRAP, u)
    return np.where(wrapped <= -WRAP, u + 2 * WRAP, wrapped)


def decay(v: NDArray[np.int32], population: Population) -> NDArray[np.int32]:
    """The membrane v after the leak, trunc(v (4096 - dv) / 4096) with dv = 4096 / 2^j.

    That is v - ceil(v / 2^j) for v > 0 and v - floor(v / 2^j) for the rest, which
    never leaves 32 bits.
    """
    j = population.decay_shift
    if j is None:
        return v
    return v - ((v + (v > 0) * np.int32(2**j - 1)) >> j)
