"""A batched emulator of Lava's fixed-point processes, which define Loihi's arithmetic.

One step of a population, in the chip's integers. One unit of the plan is 64 of them.

    u = wrap(trunc(u (4095 - du) / 4096) + (current << 6))     du = 4095: none is kept
    v = clip(trunc(v (4096 - dv) / 4096) + u + bias)
    s = [v > threshold << 6];   v = 0 where s

The divisions truncate toward zero; u wraps once at +-2^23, v is clipped to
+-(2^23 - 1). Source: lava-nc 0.10, `proc/lif/models.py`, AbstractPyLifModelFixed.

Floating-point numbers hold the integers, so that BLAS can multiply. This is exact:
`layer_of` chooses float32 where 24 bits are enough, else float64. A plan has no cycles,
so each population runs over all steps before the next one. Each core takes a few inputs
at a time, so that the data stays in its caches. Populations of pixels are stored in
channels-last order.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stars.errors import DataError
from stars.graph.nodes import Array, Shape
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.intervals import Interval, magnitude
from stars.grid.lowering import lower
from stars.grid.plan import (
    MEMBRANE_LIMIT,
    STATE_SHIFT,
    IntegerPlan,
    Population,
    accumulator_interval,
    clips,
    currents_of,
    membranes_of,
    wraps,
)
from targets.loihi.multiplication import Arithmetic, Values
from targets.loihi.neurons import Neurons
from targets.loihi.onednn import one_thread_each
from targets.loihi.products import Product, channels_last, product_of

FLOAT32_EXACT = 2**24  # float32 holds every integer up to it
BLOCK_BYTES = 2**22  # of one block: the largest layer's membranes over all steps


class LoihiEmulator:
    """Lava fixed_pt in numpy; a certificate proves it equal to the reference."""

    name = "loihi"
    description = "integer arithmetic of Loihi as Lava fixed_pt defines it, emulated"
    chunk = 200

    def __init__(self) -> None:
        self._last: tuple[SpikingGraph, int, Emulator] | None = None

    def unavailable(self) -> str | None:
        """None: it needs nothing but numpy and scipy."""
        return None

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape].

        A next call with the same graph and T reuses the prepared plan.

        Raises:
            GraphError: the graph is off the grid.
            LimitError: the graph does not fit the chip; holds every violation.
            UnsupportedNodeError: a node without integer form.
            DataError: an input is off the input's grid.
        """
        inputs = check_inputs(graph, inputs)
        steps = len(inputs)
        if self._last is None or self._last[0] is not graph or self._last[1] != steps:
            self._last = graph, steps, Emulator.of(lower(graph), steps)
        return self._last[2].run(inputs)


def emulate(plan: IntegerPlan, inputs: Array) -> Trace:
    """The trace of a plan on inputs [T, B, *input shape], in volts, exact.

    Raises:
        DataError: an input is not one of the integers that the plan allows.
    """
    return Emulator.of(plan, len(inputs)).run(inputs)


@dataclass(frozen=True, eq=False)
class Layer:
    """A prepared population, in the chip's steps and channels-last order.

    Args:
        population: of the plan.
        products: pairs of a source's name and its product.
        neurons: the population's neurons.
    """

    population: Population
    products: tuple[tuple[str, Product], ...]
    neurons: Neurons

    def drive(self, arriving: Mapping[str, Values]) -> Values:
        """The input current of each step, [T or 1, B, N]."""
        first, *others = (product(arriving[name]) for name, product in self.products)
        return sum(others, first)


@dataclass(frozen=True, eq=False)
class Emulator:
    """A plan prepared for runs of `steps` steps, with its own threads."""

    plan: IntegerPlan
    steps: int
    layers: tuple[Layer, ...]
    pool: ThreadPoolExecutor

    @classmethod
    def of(cls, plan: IntegerPlan, steps: int) -> Emulator:
        """An emulator of `plan`; each layer has its fastest exact form."""
        layers = tuple(layer_of(plan, p, steps) for p in plan.populations)
        return cls(plan, steps, layers, ThreadPoolExecutor(cores()))

    def run(
        self, inputs: Array, *, hidden: bool = True, currents: bool = False
    ) -> Trace:
        """The trace on inputs [T, B, *input shape], in volts, exact.

        Args:
            inputs: multiples of the input's grid.
            hidden: False records only the readout, which is faster.
            currents: True also records the synaptic currents.

        Raises:
            DataError: an input is not one of the integers that the plan allows.
        """
        batch, populations = inputs.shape[1], self.plan.populations
        kept = [p for p in populations if hidden or p is populations[-1]]
        membranes = {p.name: self.empty(p, batch, np.float64) for p in kept}
        spikes = {p.name: self.empty(p, batch, np.bool_) for p in kept if p.spiking}
        asked = kept if currents else []
        synaptic = {p.name: self.empty(p, batch, np.float64) for p in asked}

        def run_block(block: slice, alone: Callable[[], None]) -> None:
            alone()
            q = integer_inputs(self.plan, inputs[:, block])
            arriving = {self.plan.input_name: in_order(q, self.plan.input_shape)}
            for layer in self.layers:
                name = layer.population.name
                record = membranes[name][:, block] if name in membranes else None
                drive = layer.drive(arriving)
                apart = name in synaptic or layer.neurons.keep_current > 0
                if apart:
                    drive = layer.neurons.currents(drive, self.steps)
                if name in synaptic:
                    synaptic[name][:, block] = drive * layer.neurons.volt
                fired = layer.neurons.run(drive, self.steps, record, wrapped=apart)
                arriving[name] = fired
                if name in spikes:
                    spikes[name][:, block] = fired

        with one_thread_each() as alone:
            blocks = self.blocks(batch)
            list(self.pool.map(run_block, blocks, [alone] * len(blocks)))
        return Trace(
            {p.name: in_shape(spikes[p.name], p) for p in kept if p.spiking},
            {p.name: in_shape(membranes[p.name], p) for p in kept},
            populations[-1].name,
            {p.name: in_shape(synaptic[p.name], p) for p in asked},
        )

    def blocks(self, batch: int) -> list[slice]:
        """Slices of the batch that fit the caches and use all cores."""
        largest = max(math.prod(p.shape) for p in self.plan.populations)
        count = min(BLOCK_BYTES // (4 * self.steps * largest), -(-batch // cores()))
        count = max(1, count)
        return [slice(start, start + count) for start in range(0, batch, count)]

    def empty(self, population: Population, batch: int, kind: type) -> Values:
        """An uninitialized record, [T, B, N]."""
        return np.empty((self.steps, batch, math.prod(population.shape)), kind)


def layer_of(plan: IntegerPlan, population: Population, steps: int) -> Layer:
    """`population` with its products, in the smallest exact arithmetic."""
    connections, intervals = plan.into(population.name), plan.intervals()
    low, high = accumulator_interval(population, connections, intervals)
    total = np.abs(population.bias)
    for c in connections:
        total = total + (magnitude(c.weights, *intervals[c.source]) << c.shift)
    kind = arithmetic_of(population, (low, high), int(total.max()), steps)
    products = []
    for c in connections:
        spikes = c.source != plan.input_name
        form = Arithmetic(kind, 2.0 ** (c.shift + STATE_SHIFT), spikes)
        shapes = shape_of(plan, c.source), population.shape
        product = product_of(c.weights, *shapes, form, c.convolution)
        products.append((c.source, product))
    return Layer(population, tuple(products), neurons_of(population, kind))


def neurons_of(population: Population, kind: type[np.floating[Any]]) -> Neurons:
    """The constants of `population` in the chip's steps."""
    shift, threshold = population.decay_shift, population.threshold
    bias = population.bias[channels_last(population.shape)] * 2**STATE_SHIFT
    return Neurons(
        bias=bias.astype(kind),
        keep_current=1 - 2.0**-population.current_decay_shift,
        keep=1.0 if shift is None else 1 - 2.0**-shift,
        threshold=math.inf if threshold is None else threshold << STATE_SHIFT,
        volt=2.0 ** (population.exponent - STATE_SHIFT),
        offset=population.offset,
    )


def arithmetic_of(
    population: Population, arriving: Interval, total: int, steps: int
) -> type[np.floating[Any]]:
    """float32 where its 24 bits hold every number of the population, else float64.

    Args:
        population: of the plan.
        arriving: least and largest input current of each neuron, units.
        total: bound on every partial sum of it, the bias included, units.
        steps: T.
    """
    currents = currents_of(population, *arriving, steps)
    membranes = membranes_of(population, *arriving, steps)
    # A current that wraps leaves these intervals.
    wrapped = wraps(currents)
    clipped = wrapped or any(clips(population, interval) for interval in membranes)
    lowest = max(-least for least, _ in membranes)
    highest = max(lowest, population.threshold or 0) * 2**STATE_SHIFT
    needs = largest_number(
        total,
        MEMBRANE_LIMIT if clipped else math.ceil(highest),
        population.decay_shift or 0,
    )
    if shift := population.current_decay_shift:
        largest = math.ceil(max(max(-least, most) for least, most in currents))
        # After its first decay a current is no whole unit, so it is counted in steps.
        inside = max(total + largest, largest * (2**shift - 1)) * 2**STATE_SHIFT
        needs = FLOAT32_EXACT + 1 if wrapped else max(needs, inside)
    return np.float32 if needs <= FLOAT32_EXACT else np.float64


def largest_number(total: int, membrane: int, decay_shift: int) -> int:
    """The largest number that must be exact if the current has no memory.

    A decay multiplies v by 2^j - 1 and then divides by 2^j. A membrane beyond 2^24
    steps may be rounded before it is clipped, or before it spikes and is reset. Neither
    result changes.

    Args:
        total: bound on every partial sum of the input current, units.
        membrane: bound on the membrane after its reset, steps.
        decay_shift: j; 0 without leak.
    """
    decay: int = 2**decay_shift - 1
    return max(total, membrane * decay)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shape_of(plan: IntegerPlan, source: str) -> Shape:
    """Shape of the input or of a population."""
    if source == plan.input_name:
        return plan.input_shape
    return next(p.shape for p in plan.populations if p.name == source)


def integer_inputs(plan: IntegerPlan, inputs: Array) -> NDArray[np.float32]:
    """Inputs as the integers q, [T or 1, B, N]; one step if the input is constant.

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


def in_order(values: Values, shape: Shape) -> Values:
    """[T, B, N] of a population of `shape` -> [T, B, N] in channels-last order."""
    if len(shape) < 3:
        return values
    apart = values.reshape(*values.shape[:2], *shape)
    return np.moveaxis(apart, 2, -1).reshape(values.shape)


def in_shape(values: Values, population: Population) -> Values:
    """[T, B, N] in channels-last order -> [T, B, *shape], a view."""
    if len(population.shape) < 3:
        return values.reshape(*values.shape[:2], *population.shape)
    channels, *pixels = population.shape
    return np.moveaxis(values.reshape(*values.shape[:2], *pixels, channels), -1, 2)
