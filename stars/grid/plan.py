"""IntegerPlan: a graph on the grid as integers, and the limits of the chip's registers.

`stars.grid.lowering` makes a plan, and `stars.grid.plan_file` stores it. The emulator,
the Lava worker, the HDF5 writer and the certificate read it; none of them quantizes. A
chain of maps between two populations is one sparse integer matrix, so pooling and
flattening are no special cases.

The limits below are fields of the chip that Lava does not enforce. Source: M. Davies et
al., IEEE Micro 38(1), 2018, and the declared widths in lava-nc 0.10,
`proc/lif/models.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.sparse import csr_array

from stars.graph.nodes import Shape
from stars.grid.convolution import Convolution
from stars.grid.exact import Integers
from stars.grid.intervals import (
    Interval,
    Range,
    current_intervals,
    membrane_intervals,
    product_interval,
    spike_interval,
)

WEIGHT_LIMIT = 127  # 8 bits with the sign; sent as 2 w to keep every bit
SHIFT_LIMIT = 8  # 2 w << (shift - 1); the chip's weight exponent is at most 7
THRESHOLD_BITS = 17
ACCUMULATOR_BITS = 17  # a sum << 6 must stay inside the 24-bit signed current
STATE_SHIFT = 6  # currents, thresholds: one unit is 64 of the chip's membrane steps
MEMBRANE_LIMIT = 2**23 - 1  # where the chip clips, in its own steps
BIAS_LIMIT = 4095  # mantissa of 12 bits and a sign
BIAS_EXPONENTS = range(8)  # mantissa << exponent, in the chip's membrane steps


@dataclass(frozen=True, eq=False)
class Population:
    """One neuron node, in integers. One unit is 2^exponent volts.

    Each step, in units (before the chip's own << 6):

        u' = u - u k_u + sum of connections     k_u = 2^-current_decay_shift
        v' = v - v k + u' + bias                k = 2^-decay_shift, or 0
        s  = [v' > threshold];  v = 0 where s

    Args:
        name, shape: of the node.
        spiking: False for a readout, which has neither leak nor threshold.
        exponent: log2 of one unit in volts (v is relative to the node's v_reset).
        decay_shift: j in k = dt / tau = 2^-j; None without leak.
        threshold: in units; None for a readout.
        bias: int64 [N], added at every step, units; k r is folded in.
        bias_exponent: e, 0 to 7: the chip holds the bias as a mantissa of 12 bits and
            sign, with (bias << 6) == mantissa << e.
        latency: number of spiking populations before it on the longest path.
        offset: v_reset in volts; the membrane in volts is units 2^exponent + offset.
        current_decay_shift: i in k_u = dt / tau_syn = 2^-i; 0 for a current without
            memory.
    """

    name: str
    shape: Shape
    spiking: bool
    exponent: int
    decay_shift: int | None
    threshold: int | None
    bias: Integers
    bias_exponent: int
    latency: int
    offset: float
    current_decay_shift: int = 0

    @property
    def finest_shift(self) -> int:
        """Bits that each step adds below the last one: the larger of both shifts."""
        return max(self.decay_shift or 0, self.current_decay_shift)

    @property
    def offset_units(self) -> int:
        """v_reset in units."""
        return int(Fraction(self.offset) / Fraction(2) ** self.exponent)


@dataclass(frozen=True, eq=False)
class Connection:
    """current[target] += (weights @ x[source]) << shift, in units of the target.

    Args:
        source: name of a population, or of the input.
        target: name of a population. One source may reach it by several connections.
        weights: int32 [N target, N source], every entry in -127..127.
        shift: left shift, >= 0; never a right shift, which would floor.
        delay: extra steps a target with one step of transport per connection must add,
            so that branches meet: latency(target) - latency(source) - 1, >= 0.
        convolution: unrolls to exactly `weights`, between populations of shape
            (C, H, W); None if `weights` are not known to be a convolution.
    """

    source: str
    target: str
    weights: csr_array
    shift: int
    delay: int
    convolution: Convolution | None = None


@dataclass(frozen=True, eq=False)
class IntegerPlan:
    """An on-grid graph as integers.

    Args:
        input_name, input_shape: of the graph's input.
        input_exponent: x = q 2^input_exponent with integer q; 0 for spikes.
        input_low, input_high: int64 [N input], the interval of q; within -127..127, or
            0 and 1 for spikes.
        populations: in execution order; the last is the readout.
        connections: grouped by target, in the order of populations.
        steps: T, the length of one input; the state is reset after it.
    """

    input_name: str
    input_shape: Shape
    input_exponent: int
    input_low: Integers
    input_high: Integers
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    steps: int

    @property
    def input_graded(self) -> bool:
        """True if inputs are signed 8-bit numbers, False if they are spikes."""
        low, high = self.input_low.min(initial=0), self.input_high.max(initial=0)
        return bool(low < 0 or high > 1)

    def into(self, target: str) -> tuple[Connection, ...]:
        """The connections that feed population `target`."""
        return tuple(c for c in self.connections if c.target == target)

    def intervals(self) -> dict[str, Interval]:
        """Least and largest integer that each source can send, by its name."""
        spikes = {p.name: spike_interval(math.prod(p.shape)) for p in self.populations}
        return {self.input_name: (self.input_low, self.input_high), **spikes}


def accumulator_interval(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Interval],
) -> Interval:
    """Least and largest sum that arrives at a population in a step, [N], units.

    The bound is tight if each connection has its own source; else it is an outer bound.

    Args:
        population: the target of `connections`.
        connections: all that feed it.
        sources: interval of each source's integers.
    """
    size = math.prod(population.shape)
    low, high = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for c in connections:
        below, above = product_interval(c.weights, *sources[c.source])
        low, high = low + (below << c.shift), high + (above << c.shift)
    return low, high


def currents_of(
    population: Population, low: Integers, high: Integers, steps: int
) -> list[Range]:
    """Least and largest current of all neurons at each step, units.

    Args:
        population: whose currents are bounded.
        low: least sum that arrives at each neuron in a step, [N].
        high: largest sum.
        steps: T.
    """
    shift = population.current_decay_shift
    return current_intervals(int(low.min()), int(high.max()), shift, steps)


def wraps(currents: Sequence[Range]) -> bool:
    """Whether the chip could wrap a current of these intervals."""
    return any(max(-least, most) >= 2**ACCUMULATOR_BITS for least, most in currents)


def membranes_of(
    population: Population, low: Integers, high: Integers, steps: int
) -> list[Range]:
    """`membrane_intervals` of a population whose arriving sums are in low..high."""
    bias = population.bias
    if population.current_decay_shift:
        down, up = int(bias.min()), int(bias.max())
        currents = currents_of(population, low, high, steps)
        increments = [(least + down, most + up) for least, most in currents]
    else:
        each = Fraction(int((low + bias).min())), Fraction(int((high + bias).max()))
        increments = [each] * steps
    return membrane_intervals(
        increments,
        decay_shift=population.decay_shift,
        threshold=population.threshold,
    )


def clips(population: Population, interval: Range) -> bool:
    """Whether clipping on the chip can change the result for this interval.

    The chip clips at +-(2^23 - 1) of its own steps. In a spiking population, clipping
    above is harmless: the threshold << 6 is lower, so the clipped membrane still spikes
    and is reset.
    """
    limit = Fraction(MEMBRANE_LIMIT, 2**STATE_SHIFT)
    least, most = interval
    return least < -limit or (population.threshold is None and most > limit)
