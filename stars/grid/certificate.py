"""certify(graph) -> Certificate: the proof that every target computes the same bits.

Targets can differ in four ways. Each has a bound here, which interval arithmetic
derives from the integers of the plan. Every bound is sufficient; none is an estimate.

1. The chip's current wraps. A sum of currents << 6 must stay inside 24 signed bits:
   |sum| < 2^17 units. For the largest sum, positive weights meet the largest input and
   negative weights the smallest, and the reverse for the smallest sum
   (`product_interval`). A current with memory adds what remains of earlier steps, so
   its interval is carried on (`current_intervals`).
2. The chip's membrane clips at +-(2^23 - 1) of its own steps, 64 to a unit. The
   interval of the membrane is carried from step to step (`membrane_intervals`).
   Clipping above is harmless in a population that spikes (`clips`).
3. The chip's decay truncates. Everything that is added to a membrane is a multiple of
   2^h units (h is the spare shift). Each of the T - 1 decays by 2^-j moves the last bit
   down by j. The chip keeps 6 bits below a unit, so nothing is lost while
   j (T - 1) <= 6 + h. If the current has a memory, j is the larger of the two decays'.
   A node whose own decay truncates does what the chip does.
4. float32 rounds. Multiples of one power of two, and their sums in any order, are exact
   up to 2^24 times that power. In a map, sum |w| |x| + |b| bounds every partial sum, in
   units of the product of weight and input grids; where several maps meet, so does
   their total, in units of 2^h. In a neuron at step t the finest grid is 2^(h - j (t -
   1)) units. On it lie x - k v, where x is the current, and the new membrane; with a
   memory, so do a - k u, where a is what arrives, and the new current u, which replaces
   x. Their intervals must fit. If the decay truncates, the grid is 2^-6 units at every
   step, and u and v are first multiplied by 2^j - 1. No product of factors, in any
   order that a runtime may choose, and no grid of a membrane may leave the normal
   numbers of float32 (`stars.grid.float32_bounds`).

Bounds 3 and 4 assume the largest value on the finest grid. Where one of them fails and
a population is small, its states are listed instead (`stars.grid.reachable`). A state
on which the chip truncates may still have no effect on any spike; then the spikes are
proved for more steps than the membranes.

Every target computes k = dt / tau by one float64 division, and a graph is lowered only
if k is a power of two. Norse's cells receive k itself, with dt = 1, because they would
compute it from two rounded float32 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from stars.errors import GraphError, LimitError, UnsupportedNodeError
from stars.graph.nodes import CubaLIF, Neuron, Node
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.breaks import Break
from stars.grid.exact import bits, trailing_zeros
from stars.grid.float32_bounds import (
    FLOAT32_BITS,
    FLOAT32_FINEST,
    FLOAT32_LARGEST,
    ceil_log2,
    float32_breaks,
)
from stars.grid.intervals import Interval, Range, magnitude
from stars.grid.lowering import lower
from stars.grid.plan import (
    ACCUMULATOR_BITS,
    STATE_SHIFT,
    Connection,
    IntegerPlan,
    Population,
    accumulator_interval,
    clips,
    currents_of,
    membranes_of,
    wraps,
)
from stars.grid.reachable import reached

HORIZON = 64  # steps; exactness of longer runs is not examined


@dataclass(frozen=True)
class PopulationBits:
    """The register widths that one population needs for the certificate's steps.

    Args:
        name: of the neuron node.
        neurons: their number.
        unit_exponent: log2 of one unit in volts.
        spare_shift: h: every current and bias is a multiple of 2^h units.
        accumulator: largest |sum of currents|, units; includes what remains of earlier
            steps.
        accumulator_bits: its bits, without sign; at most 17 fit.
        membrane_bits: bits of the membrane on the chip, with sign; at most 24 fit.
        float32_bits: bits that an exact float32 run needs; at most 24 fit.
        exact_steps: largest T for which this population is exact, at most 64.
        spike_steps: largest T for which its spikes are exact, at most 64.
        breaks: the bounds that a run of the certificate's steps exceeds.
    """

    name: str
    neurons: int
    unit_exponent: int
    spare_shift: int
    accumulator: int
    accumulator_bits: int
    membrane_bits: int
    float32_bits: int
    exact_steps: int
    spike_steps: int
    breaks: tuple[Break, ...]

    @property
    def fits(self) -> bool:
        """Whether every register is wide enough; truncation is not considered."""
        return (
            self.accumulator_bits <= ACCUMULATOR_BITS
            and max(self.membrane_bits, self.float32_bits) <= FLOAT32_BITS
        )


@dataclass(frozen=True)
class Certificate:
    """Whether spikes and membranes are exact on every target, or why not.

    Args:
        steps: T.
        exact_steps: largest T for which the graph is exact, 0 to 64; 64 means 64 or
            more.
        spike_steps: the same for its spikes alone; at least `exact_steps`.
        populations: one row each, in execution order; empty if the graph has no plan.
        breaks: the bounds that a run of `steps` exceeds, and where.
    """

    steps: int
    exact_steps: int
    spike_steps: int
    populations: tuple[PopulationBits, ...]
    breaks: tuple[Break, ...]

    @property
    def ok(self) -> bool:
        """True if a run of `steps` is exact."""
        return not self.breaks

    @property
    def verdict(self) -> str:
        """The result in one sentence: exact, exact up to some T, or why not."""
        if self.ok:
            return "spikes and membranes exact"
        if self.spike_steps >= self.steps:
            return f"spikes exact, membranes up to T = {self.exact_steps}"
        if self.exact_steps:
            return f"exact up to T = {self.exact_steps}"
        return "not exact because " + "; ".join(map(str, self.breaks))

    def to_json(self) -> dict[str, Any]:
        """The certificate as JSON values; each break is its text."""
        rows = [
            {**asdict(p), "breaks": [*map(str, p.breaks)]} for p in self.populations
        ]
        found = {
            **asdict(self),
            "populations": rows,
            "breaks": [*map(str, self.breaks)],
        }
        return {"ok": self.ok, "verdict": self.verdict, **found}


def certify(graph: SpikingGraph, steps: int | None = None) -> Certificate:
    """The certificate of `graph` for runs of `steps`; default: the graph's own steps.

    The graph is lowered for its own number of steps, as in every target. If it cannot
    be lowered, the certificate is not ok and its breaks hold the reasons.

    Raises:
        GraphError: steps is below 1.
    """
    steps = graph.steps if steps is None else steps
    if steps < 1:
        raise GraphError(f"steps is {steps}; it must be at least 1")
    try:
        plan = lower(graph)
    except (GraphError, LimitError, UnsupportedNodeError) as error:
        texts = error.violations if isinstance(error, LimitError) else (str(error),)
        return Certificate(steps, 0, 0, (), tuple(Break("plan", "", t) for t in texts))
    rows = tuple(
        population_bits(plan, p, steps, graph.nodes[p.name]) for p in plan.populations
    )
    breaks = float32_breaks(graph)
    return Certificate(
        steps,
        0 if breaks else min(row.exact_steps for row in rows),
        0 if breaks else min(row.spike_steps for row in rows),
        rows,
        (*breaks, *(b for row in rows for b in row.breaks)),
    )


def population_bits(
    plan: IntegerPlan, population: Population, steps: int, node: Node
) -> PopulationBits:
    """The register widths that `population` needs for a run of `steps`.

    Args:
        plan: contains the population.
        population: to examine.
        steps: T.
        node: the population's node in the graph.
    """
    truncates = isinstance(node, Neuron) and node.decay == "truncate"
    connections, sources = plan.into(population.name), plan.intervals()
    low, high = accumulator_interval(population, connections, sources)
    horizon = max(steps, HORIZON)
    membranes = membranes_of(population, low, high, horizon)
    currents = currents_of(population, low, high, horizon)
    spare = spare_shift(plan, population)
    accumulator = max(math.ceil(max(-least, most)) for least, most in currents[:steps])
    arriving = int(low.min()), int(high.max())
    needs = float32_needs(
        population, arriving, currents, membranes, spare, truncates=truncates
    )
    found = register_breaks(population, currents, membranes)
    found += sum_breaks(population, connections, sources, spare)
    found += fine_breaks(population, node, truncates=truncates)
    by_interval = bit_breaks(population, needs)
    if not truncates:
        by_interval += truncation_breaks(population, spare)
    states, spike_steps = state_breaks(
        population, by_interval, connections, sources, horizon, truncates=truncates
    )
    found += states
    float32_bits = max(ceil_log2(need) for need in needs[:steps])
    if by_interval and all(b.step > steps for b in states):  # the list proves them
        float32_bits = min(float32_bits, FLOAT32_BITS)
    return PopulationBits(
        name=population.name,
        neurons=len(population.bias),
        unit_exponent=population.exponent,
        spare_shift=spare,
        accumulator=accumulator,
        accumulator_bits=bits(accumulator),
        membrane_bits=membrane_bits(population, membranes[:steps]),
        float32_bits=float32_bits,
        exact_steps=min([HORIZON, *(b.step - 1 for b in found)]),
        spike_steps=min(
            [HORIZON, spike_steps, *(b.step - 1 for b in found if b not in states)]
        ),
        breaks=tuple(b for b in found if b.step <= steps),
    )


def state_breaks(
    population: Population,
    by_interval: list[Break],
    connections: Sequence[Connection],
    sources: Mapping[str, Interval],
    horizon: int,
    *,
    truncates: bool,
) -> tuple[list[Break], int]:
    """(Breaks of single states, steps of exact spikes), by the stronger of two proofs.

    Args:
        population: the target of `connections`.
        by_interval: the breaks that its intervals find.
        connections: all that feed it.
        sources: interval of each source's integers.
        horizon: steps to examine.
        truncates: whether the node's own decay truncates.
    """
    if not by_interval:
        return [], horizon
    shown = min(found.step for found in by_interval) - 1
    listed = reached(population, connections, sources, horizon, truncates=truncates)
    spikes = max(shown, listed.spikes)
    if listed.membranes >= horizon:
        return [], spikes
    if listed.membranes <= shown:
        return by_interval, spikes
    step = listed.membranes + 1
    text = f"float32 or the chip may round a membrane at step {step}"
    where = f"population {population.name!r}"
    return [Break(by_interval[0].kind, where, text, step)], spikes


def spare_shift(plan: IntegerPlan, population: Population) -> int:
    """h: 2^h units divide every current and the bias; 64 if all are 0."""
    zeros = [trailing_zeros(population.bias)]
    for c in plan.into(population.name):
        inside = trailing_zeros(c.weights)
        zeros.append(None if inside is None else inside + c.shift)
    return min((z for z in zeros if z is not None), default=64)


def float32_needs(
    population: Population,
    arriving: tuple[int, int],
    currents: list[Range],
    membranes: list[Range],
    spare: int,
    *,
    truncates: bool,
) -> list[Fraction]:
    """At each step, the largest value of float32 neurons in units of the finest grid.

    An offset (v_reset, in volts) shifts every membrane and may be on a finer grid.

    Args:
        population: whose neurons run.
        arriving: least and largest sum that arrives in a step, units.
        currents: least and largest at each step, units.
        membranes: the same before the reset.
        spare: see `spare_shift`.
        truncates: whether the node's own decay truncates.
    """
    i, j = population.current_decay_shift, population.decay_shift or 0
    offset = abs(population.offset_units)
    grid = min(spare, (offset & -offset).bit_length() - 1) if offset else spare
    bias = Fraction(int(population.bias.min())), Fraction(int(population.bias.max()))
    none = Fraction(0), Fraction(0)
    u, v, needs = none, none, []
    for step, (current, membrane) in enumerate(zip(currents, membranes, strict=True)):
        x = current[0] + bias[0], current[1] + bias[1]
        values = [peak(membrane) + offset]
        if truncates:
            values += [peak(v) + offset, peak(v) * (2**j - 1)]
            values += [peak(x), peak(u) * (2**i - 1)]
            needs.append(max(values) * 2**STATE_SHIFT)
        else:
            values += [peak(drive(x, v, population.decay_shift)) + offset]
            if i:
                values += [peak(x), peak(drive(arriving, u, i))]
            needs.append(max(values) * Fraction(2) ** (max(i, j) * step - grid))
        u, v = (current if i else none), after_reset(population, membrane)
    return needs


def peak(values: Range) -> Fraction:
    """The largest magnitude in an interval."""
    return max(-values[0], values[1])


def drive(x: tuple[int, int] | Range, state: Range, decay_shift: int | None) -> Range:
    """The interval of x - k state, which a step adds to the state; k is 0 for None."""
    k = Fraction(0) if decay_shift is None else Fraction(1, 2**decay_shift)
    return x[0] - k * state[1], x[1] - k * state[0]


def after_reset(population: Population, membrane: Range) -> Range:
    """The interval of membranes after the reset, from the interval before it."""
    least, most = membrane
    if population.threshold is None or most <= population.threshold:
        return membrane
    return min(least, Fraction(0)), max(Fraction(population.threshold), Fraction(0))


def register_breaks(
    population: Population,
    currents: list[Range],
    membranes: list[Range],
) -> list[Break]:
    """The first step at which the chip's current or membrane leaves its register."""
    where, found = f"population {population.name!r}", []
    for step, (least, most) in enumerate(currents, start=1):
        if wraps([(least, most)]):
            reach = math.ceil(max(-least, most))
            when = f" at step {step}" if population.current_decay_shift else ""
            text = f"sums of currents reach {reach} units{when}, {bits(reach)} bits, at"
            found.append(
                Break("current", where, f"{text} most {ACCUMULATOR_BITS}", step)
            )
            break
    for step, (least, most) in enumerate(membranes, start=1):
        if clips(population, (least, most)):
            text = f"the membrane lies in {float(least)} to {float(most)} units at step"
            text += f" {step}; the chip clips at +-131072"
            found.append(Break("membrane", where, text, step))
            break
    return found


def sum_breaks(
    population: Population,
    connections: Sequence[Connection],
    sources: Mapping[str, Interval],
    spare: int,
) -> list[Break]:
    """The break of partial sums of currents and bias that float32 may round."""
    total = np.abs(population.bias)
    for c in connections:
        total = total + (magnitude(c.weights, *sources[c.source]) << c.shift)
    need = Fraction(int(total.max())) / Fraction(2) ** spare
    return bit_breaks(population, [need])


def bit_breaks(population: Population, needs: list[Fraction]) -> list[Break]:
    """The first step at which float32 needs more bits than it has."""
    for step, need in enumerate(needs, start=1):
        if need > 2**FLOAT32_BITS:
            where = f"population {population.name!r}"
            text = f"float32 needs {ceil_log2(need)} bits at step {step}, has"
            return [Break("float32 bits", where, f"{text} {FLOAT32_BITS}", step)]
    return []


def fine_breaks(population: Population, node: Node, *, truncates: bool) -> list[Break]:
    """The first step at which a membrane or current leaves float32's normal numbers.

    Each decay adds `finest_shift` bits below the last one, unless it truncates. A
    synaptic current is 1 / (k r) times as large as what it adds to the membrane.
    """
    where = f"population {population.name!r}"
    bits_a_step = 0 if truncates else population.finest_shift
    finest = population.exponent - (STATE_SHIFT if truncates else 0)
    coarsest = population.exponent + FLOAT32_BITS + population.finest_shift + 1
    if isinstance(node, CubaLIF):
        gains = np.frexp(np.abs(node.r))[1] - 1 - (population.decay_shift or 0)
        finest -= max(0, int(gains.max()))
        coarsest -= min(0, int(gains.min()))
    if coarsest > FLOAT32_LARGEST:
        text = f"float32 may reach 2^{coarsest}, has 2^{FLOAT32_LARGEST}"
        return [Break("float32 range", where, text)]
    if finest < FLOAT32_FINEST:
        step = 1
    elif bits_a_step:
        step = 2 + (finest - FLOAT32_FINEST) // bits_a_step
    else:
        return []
    text = f"the grid is finer than 2^{FLOAT32_FINEST}, where float32's normal numbers"
    return [Break("float32 range", where, f"{text} end, from step {step} on", step)]


def truncation_breaks(population: Population, spare: int) -> list[Break]:
    """The first step at which the chip truncates bits that the node keeps."""
    j = population.finest_shift
    if not j or (whole := 1 + (STATE_SHIFT + spare) // j) >= HORIZON:
        return []
    text = f"the chip's decay truncates from step {whole + 1} on: j (T - 1) > 6 + h"
    text += f" with j = {j}, h = {spare}; for longer runs, write the network with"
    text += " 'stars quantize --truncating-decay'"
    return [Break("truncation", f"population {population.name!r}", text, whole + 1)]


def membrane_bits(population: Population, membranes: list[Range]) -> int:
    """Bits of the membrane on the chip, with sign, harmless clipping left out."""
    top = max(-least for least, _ in membranes)
    if population.threshold is None:
        top = max(top, *(most for _, most in membranes))
    else:
        top = max(top, Fraction(population.threshold))
    return bits(int(top * 2**STATE_SHIFT)) + 1
