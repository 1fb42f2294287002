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
   units of the product of weight and input grids. In a neuron at step t the finest grid
   is 2^(h - j (t - 1)) units, and |current| + |v| bounds both v_leak - v + r x (times
   k) and the new membrane. With a memory, |arriving| + |u| bounds w_in x - u and the
   new current u, which replaces x. If the decay truncates, the grid is 2^-6 units at
   every step, and u and v are first multiplied by 2^j - 1. No product of factors, in
   any order that a runtime may choose, and no grid of a membrane may leave the normal
   numbers of float32 (`stars.grid.float32_bounds`).

Every target computes k = dt / tau by one float64 division, and a graph is lowered only
if k is a power of two. Norse's cells receive k itself, with dt = 1, because they would
compute it from two rounded float32 numbers.
"""

from __future__ import annotations

import math
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
from stars.grid.intervals import Range, magnitude
from stars.grid.lowering import lower
from stars.grid.plan import (
    ACCUMULATOR_BITS,
    STATE_SHIFT,
    IntegerPlan,
    Population,
    accumulator_interval,
    clips,
    currents_of,
    membranes_of,
    wraps,
)

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
        populations: one row each, in execution order; empty if the graph has no plan.
        breaks: the bounds that a run of `steps` exceeds, and where.
    """

    steps: int
    exact_steps: int
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
        return Certificate(steps, 0, (), tuple(Break("plan", "", t) for t in texts))
    rows = tuple(
        population_bits(plan, p, steps, graph.nodes[p.name]) for p in plan.populations
    )
    breaks = float32_breaks(graph)
    exact = 0 if breaks else min(row.exact_steps for row in rows)
    return Certificate(
        steps, exact, rows, (*breaks, *(b for row in rows for b in row.breaks))
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
    total = np.abs(population.bias)
    for c in connections:
        total = total + (magnitude(c.weights, *sources[c.source]) << c.shift)
    horizon = max(steps, HORIZON)
    membranes = membranes_of(population, low, high, horizon)
    currents = currents_of(population, low, high, horizon)
    drives = drives_of(population, int(total.max()), horizon)
    spare = spare_shift(plan, population)
    accumulator = max(math.ceil(max(-least, most)) for least, most in currents[:steps])
    if truncates:
        needs = truncating_needs(population, membranes, drives)
    else:
        needs = float32_needs(population, membranes, drives, spare)
    found = register_breaks(population, currents, membranes, needs)
    found += fine_breaks(population, node, truncates=truncates)
    if not truncates:
        found += truncation_breaks(population, spare)
    return PopulationBits(
        name=population.name,
        neurons=len(population.bias),
        unit_exponent=population.exponent,
        spare_shift=spare,
        accumulator=accumulator,
        accumulator_bits=bits(accumulator),
        membrane_bits=membrane_bits(population, membranes[:steps]),
        float32_bits=max(ceil_log2(need) for need in needs[:steps]),
        exact_steps=min([HORIZON, *(b.step - 1 for b in found)]),
        breaks=tuple(b for b in found if b.step <= steps),
    )


def spare_shift(plan: IntegerPlan, population: Population) -> int:
    """h: 2^h units divide every current and the bias; 64 if all are 0."""
    zeros = [trailing_zeros(population.bias)]
    for c in plan.into(population.name):
        inside = trailing_zeros(c.weights)
        zeros.append(None if inside is None else inside + c.shift)
    return min((z for z in zeros if z is not None), default=64)


@dataclass(frozen=True)
class Drive:
    """Bounds of what enters a membrane in one step, in units.

    Args:
        current: bounds |current| and every partial sum of it with the bias.
        before: bounds |current| of the step before; 0 without memory.
    """

    current: Fraction
    before: Fraction


def drives_of(population: Population, total: int, steps: int) -> list[Drive]:
    """The bounds of the current at each step, if `total` bounds the arriving sum."""
    shift, found, before = population.current_decay_shift, [], Fraction(0)
    for _ in range(steps):
        current = total + before * (1 - Fraction(1, 2**shift))
        # `total` bounds the arriving part, `before` the part that is kept.
        found.append(Drive(current, before))
        before = current if shift else Fraction(0)
    return found


def float32_needs(
    population: Population, membranes: list[Range], drives: list[Drive], spare: int
) -> list[Fraction]:
    """At each step, the largest value in float32 as a multiple of the finest grid.

    An offset (v_reset, in volts) shifts every membrane and may be on a finer grid.
    """
    j = population.finest_shift
    offset = abs(offset_units(population))
    grid = min(spare, (offset & -offset).bit_length() - 1) if offset else spare
    before, needs = Fraction(0), []
    for step, (least, most) in enumerate(membranes):
        drive = drives[step]
        value = max(drive.current + max(before, drive.before), -least, most)
        needs.append((value + offset) * Fraction(2) ** (j * step - grid))
        before = after_reset(population, least, most)
    return needs


def offset_units(population: Population) -> int:
    """v_reset in units, an integer."""
    return int(Fraction(population.offset) / Fraction(2) ** population.exponent)


def truncating_needs(
    population: Population, membranes: list[Range], drives: list[Drive]
) -> list[Fraction]:
    """`float32_needs` for decays that truncate, in steps of the chip's membrane."""
    j, i = population.decay_shift or 0, population.current_decay_shift
    offset = abs(offset_units(population))
    before, needs = Fraction(0), []
    for (least, most), drive in zip(membranes, drives, strict=True):
        value = max(drive.current + before, -least, most) + offset
        decaying = max(before * (2**j - 1), drive.before * (2**i - 1))
        needs.append(max(value, decaying) * 2**STATE_SHIFT)
        before = after_reset(population, least, most)
    return needs


def after_reset(population: Population, least: Fraction, most: Fraction) -> Fraction:
    """The largest |membrane| after the reset, if it was between these two before."""
    ceiling = most if population.threshold is None else population.threshold
    return max(-least, Fraction(0), Fraction(min(most, Fraction(ceiling))))


def register_breaks(
    population: Population,
    currents: list[Range],
    membranes: list[Range],
    needs: list[Fraction],
) -> list[Break]:
    """The first step at which current, membrane or float32 leaves its bounds."""
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
    for step, need in enumerate(needs, start=1):
        if need > 2**FLOAT32_BITS:
            text = f"float32 needs {ceil_log2(need)} bits at step {step}, has"
            found.append(Break("float32 bits", where, f"{text} {FLOAT32_BITS}", step))
            break
    return found


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
