"""Every state that the neurons of a small population can reach, one by one.

The certificate's intervals assume that the largest membrane lies on the finest grid.
Where few sums can arrive at a neuron, all its states can be listed instead, and every
step is tested with the values that occur. Sums of different steps count as independent,
so the list may contain states that never occur, but it lacks none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stars.grid.exact import Integers, trailing_zeros
from stars.grid.float32_bounds import FLOAT32_BITS
from stars.grid.intervals import Interval
from stars.grid.plan import STATE_SHIFT, Connection, Population

MOST = 2**14  # pairs of a state and a sum, in one step of one neuron
NEURONS = 64  # of a population; a larger one is left to the intervals
WEIGHTS = 64  # of a neuron; the same
LARGEST = 2**60  # of an integer, so that sums of a few stay inside int64


@dataclass(frozen=True)
class Reached:
    """How long a population is exact, by the list of its states.

    Args:
        membranes: steps in which every state is exact in float32 and on the chip.
        spikes: steps in which the chip's spikes are exact too; at least `membranes`.
    """

    membranes: int
    spikes: int


def reached(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Interval],
    steps: int,
    *,
    truncates: bool,
) -> Reached:
    """The steps, at most `steps`, in which no state of `population` is inexact.

    Neither the chip's registers nor the partial sums of the currents are examined.

    Args:
        population: the target of `connections`.
        connections: all that feed it.
        sources: interval of each source's integers.
        steps: where to stop.
        truncates: whether the node's own decay truncates as the chip's does.
    """
    membranes = spikes = steps if len(population.bias) <= NEURONS else 0
    for neuron in range(len(population.bias)):
        if not spikes:
            break
        sums = sums_of(neuron, connections, sources)
        if sums is None:
            return Reached(0, 0)
        found = neuron_reached(population, neuron, sums, spikes, truncates=truncates)
        membranes = min(membranes, found.membranes)
        spikes = min(spikes, found.spikes)
    return Reached(min(membranes, spikes), spikes)


def sums_of(
    neuron: int, connections: Sequence[Connection], sources: Mapping[str, Interval]
) -> Integers | None:
    """All sums that can arrive at a neuron in a step; None if they are too many."""
    sums = np.zeros(1, np.int64)
    for c in connections:
        low, high = sources[c.source]
        row = slice(c.weights.indptr[neuron], c.weights.indptr[neuron + 1])
        if row.stop - row.start > WEIGHTS:
            return None
        entries = zip(c.weights.indices[row], c.weights.data[row], strict=True)
        for place, weight in entries:
            values = np.arange(low[place], high[place] + 1)
            if len(sums) * len(values) > MOST:
                return None
            terms = (int(weight) * values) << c.shift
            sums = np.unique(sums[:, None] + terms)
    return sums


@dataclass(frozen=True, eq=False)
class States:
    """Pairs of an exact state and the chip's, integers [S] each.

    Args:
        exponent: at most 0.
        u, v: current and membrane, units 2^exponent; u is 0 without memory.
        chip_u, chip_v: the same on the chip, in its steps of 2^-6 units.
    """

    exponent: int
    u: Integers
    v: Integers
    chip_u: Integers
    chip_v: Integers

    @property
    def rows(self) -> Integers:
        """All integers, [4, S]."""
        return np.stack([self.u, self.v, self.chip_u, self.chip_v])

    def unique(self) -> States:
        """Each pair once, on the coarsest grid that holds all of them."""
        rows = np.unique(self.rows, axis=1)
        zeros = trailing_zeros(rows[:2])
        shift = -self.exponent if zeros is None else min(zeros, -self.exponent)
        return States(self.exponent + shift, *(rows[:2] >> shift), *rows[2:])

    def finer(self, exponent: int) -> tuple[Integers, Integers]:
        """Both exact numbers in units 2^exponent, as columns [S, 1]."""
        shift = self.exponent - exponent
        return self.u[:, None] << shift, self.v[:, None] << shift

    def is_exact(self) -> bool:
        """Whether the chip's membranes are the exact ones."""
        exponent = min(self.exponent, -STATE_SHIFT)
        _, v = self.finer(exponent)
        return bool((v[:, 0] == self.chip_v << (-STATE_SHIFT - exponent)).all())

    def equals(self, other: States) -> bool:
        """Whether the lists are the same."""
        same = self.exponent == other.exponent
        return same and np.array_equal(self.rows, other.rows)


def neuron_reached(
    population: Population, neuron: int, sums: Integers, steps: int, *, truncates: bool
) -> Reached:
    """`reached` for one neuron at which these sums arrive."""
    membranes, states = 0, States(0, *[np.zeros(1, np.int64)] * 4)
    for done in range(steps):
        after = stepped(population, neuron, sums, states, truncates=truncates)
        if after is None:
            return Reached(membranes, done)
        exact = membranes == done and after.is_exact()
        if after.equals(states):  # and so at every later step
            return Reached(steps if exact else membranes, steps)
        membranes += exact
        states = after
    return Reached(membranes, steps)


def stepped(
    population: Population,
    neuron: int,
    sums: Integers,
    states: States,
    *,
    truncates: bool,
) -> States | None:
    """All states after a step, once each.

    None if they are too many, if float32 rounds a value of the step, or if the chip
    spikes where the exact neuron does not, or the reverse.
    """
    exponent = states.exponent - population.finest_shift
    if truncates:
        exponent = -STATE_SHIFT
    bias, offset = int(population.bias[neuron]), population.offset_units
    sizes = [abs(offset), abs(bias), int(np.abs(sums).max())]
    sizes += [int(np.abs(x).max()) >> -states.exponent for x in (states.u, states.v)]
    i, j = population.current_decay_shift, population.decay_shift or 0
    if (
        len(sums) * len(states.v) > MOST
        or (sum(sizes) + 1) << (i + j - exponent) > LARGEST
    ):
        return None
    u, v = states.finer(exponent)
    arriving = sums << -exponent
    decay = truncated if truncates else decayed
    current = (
        decay(u, i) + arriving if i else np.broadcast_to(arriving, (len(v), len(sums)))
    )
    current = current + (bias << -exponent)
    membrane = decay(v, j) + current
    volts = offset << -exponent
    if truncates:
        values = [v * (2**j - 1), u * (2**i - 1), decay(v, j) + volts]
    else:
        values = [current - (v >> j) * bool(j), arriving - (u >> i) * bool(i)]
    # A cell subtracts the offset again, so the membrane must fit without it, too.
    values += [current, membrane, membrane + volts]
    if not all(map(in_float32, values)):
        return None
    chip_u, chip_v = states.chip_u[:, None], states.chip_v[:, None]
    chip_current = (truncated(chip_u, i) if i else 0) + ((sums + bias) << STATE_SHIFT)
    chip_membrane = truncated(chip_v, j) + chip_current
    if population.threshold is not None:
        fired = membrane > population.threshold << -exponent
        if (fired != (chip_membrane > population.threshold << STATE_SHIFT)).any():
            return None
        membrane, chip_membrane = membrane * ~fired, chip_membrane * ~fired
    if not i:
        current, chip_current = 0 * current, 0 * chip_membrane
    found = (current, membrane, chip_current + 0 * chip_membrane, chip_membrane)
    return States(exponent, *(x.ravel() for x in found)).unique()


def decayed(x: Integers, shift: int) -> Integers:
    """The product x (1 - 2^-shift), if 2^shift divides x; x itself if shift is 0."""
    return x - (x >> shift) if shift else x


def truncated(x: Integers, shift: int) -> Integers:
    """The product x (1 - 2^-shift), toward zero; x itself if shift is 0."""
    return np.sign(x) * ((np.abs(x) * (2**shift - 1)) >> shift) if shift else x


def in_float32(values: Integers) -> bool:
    """Whether each integer needs at most 24 bits from its first to its last 1."""
    lowest = np.where(values == 0, 1, values & -values)
    return bool((np.abs(values) // lowest <= 2**FLOAT32_BITS).all())
