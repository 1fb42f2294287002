"""certify(graph) -> Certificate: the proof that every target computes the same bits.

Four things could make two targets differ, and each has a bound here, from the integers
of the plan by interval arithmetic. All are sufficient; none is an estimate.

1. The chip's current. A sum of currents << 6 must stay inside 24 bits, or it wraps:
   |sum| < 2^17 units. The sum's interval splits signs: positive weights meet the
   largest input, negative ones the least, and the reverse (`product_interval`). Where
   a current has a memory, what is left of the step before is in the sum, and the
   interval is carried from step to step (`current_intervals`).
2. The chip's membrane. It clips at +-(2^23 - 1) of its own steps, 64 to a unit. The
   interval of the membrane is carried from step to step (`membrane_intervals`);
   clipping above is harmless in a population that spikes (`clips`).
3. The chip's decay truncates. All that is added to a membrane is a multiple of
   2^h units (h is the spare shift), and each of the T - 1 decays by 2^-j moves the
   last bit j lower. The chip keeps 6 bits below a unit, so that nothing is cut off
   while j (T - 1) <= 6 + h. With a memory of the current j is the larger of the two
   decays'. A node whose own decay truncates does what the chip does.
4. float32. Multiples of one power of two are exact, and their sums too in whatever
   order, while they are at most 2^24 of it. In a map, sum |w| |x| + |b| bounds every
   partial sum, in units of the product of weight and input grids. In a neuron at step
   t the finest grid is 2^(h - j (t - 1)) units, and |current| + |v| bounds both
   v_leak - v + r x (times k) and the new membrane; with a memory, |arriving| + |u|
   bounds w_in x - u and the new current u, which takes the place of x. Where the decay
   truncates the grid is 2^-6 units at every step, and u and v are multiplied by 2^j - 1
   first. No grid may be so fine or so coarse that its multiples are no normal numbers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from stars.bounds import Range, magnitude
from stars.dyadic import bits, dyadic, largest, trailing_zeros
from stars.errors import GraphError, LimitError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.lowering import input_interval, lower
from stars.nodes import Array, Input, Map, Neuron, Scale, SumPool2d, Weighted
from stars.plan import (
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

FLOAT32_BITS = 24
FLOAT32_GRIDS = (-126, 127 - FLOAT32_BITS)  # log2; all multiples are normal numbers
HORIZON = 64  # steps beyond which exactness is not looked into


@dataclass(frozen=True)
class PopulationBits:
    """What one population needs of each register, for the certificate's steps.

    Args:
        name: of the neuron node.
        neurons: how many.
        unit_exponent: log2 of one unit in volts.
        spare_shift: h: every current and bias is a multiple of 2^h units.
        accumulator: largest |sum of currents|, what is left of earlier steps included,
            units.
        accumulator_bits: bits of it, without sign; of 17.
        membrane_bits: bits of the membrane on the chip, with sign; of 24.
        float32_bits: bits that an exact float32 run needs; of 24.
        exact_steps: largest T for which this population is exact; 64 and more is 64.
        breaks: what goes wrong, and where, for the certificate's steps.
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
    breaks: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether every register is wide enough; truncation is another matter."""
        return (
            self.accumulator_bits <= ACCUMULATOR_BITS
            and max(self.membrane_bits, self.float32_bits) <= FLOAT32_BITS
        )


@dataclass(frozen=True)
class Certificate:
    """Whether spikes and membranes are exact on every target, and why not.

    Args:
        steps: T.
        exact_steps: largest T for which the graph is exact, 0 to 64; 64 means at least.
        populations: one row for each, in execution order; none when off the grid.
        breaks: the nodes that break exactness for `steps`, and by how much.
    """

    steps: int
    exact_steps: int
    populations: tuple[PopulationBits, ...]
    breaks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether a run of `steps` is exact."""
        return not self.breaks

    @property
    def verdict(self) -> str:
        """One sentence: exact, exact up to some T, or why not."""
        if self.ok:
            return "spikes and membranes exact"
        if self.exact_steps:
            return f"exact up to T = {self.exact_steps}"
        return "not exact because " + "; ".join(self.breaks)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"ok": self.ok, "verdict": self.verdict, **asdict(self)}


def certify(graph: SpikingGraph, steps: int | None = None) -> Certificate:
    """The certificate of `graph` for runs of `steps`, by default its own.

    The graph is lowered for its own number of steps, as every target does. One that
    cannot be lowered is not certified; the reason is what breaks it.

    Raises:
        GraphError: steps is below 1.
    """
    steps = graph.steps if steps is None else steps
    if steps < 1:
        raise GraphError(f"steps is {steps}; it must be at least 1")
    try:
        plan = lower(graph)
    except LimitError as error:
        return Certificate(steps, 0, (), error.violations)
    except (GraphError, UnsupportedNodeError) as error:
        return Certificate(steps, 0, (), (str(error),))
    rows = tuple(
        population_bits(plan, p, steps, truncates=decay_of(graph, p) == "truncate")
        for p in plan.populations
    )
    breaks = (*map_breaks(graph), *range_breaks(graph, plan, steps))
    exact = 0 if breaks else min(row.exact_steps for row in rows)
    return Certificate(
        steps, exact, rows, (*breaks, *(b for row in rows for b in row.breaks))
    )


def decay_of(graph: SpikingGraph, population: Population) -> str:
    """The decay of the population's node; a readout has none, which is exact."""
    node = graph.nodes[population.name]
    return node.decay if isinstance(node, Neuron) else "exact"


def population_bits(
    plan: IntegerPlan, population: Population, steps: int, *, truncates: bool
) -> PopulationBits:
    """What `population` needs of each register for a run of `steps`.

    Args:
        plan: with the population in it.
        population: of the plan.
        steps: T.
        truncates: whether the node's own decay does, as the chip's.
    """
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
    first = current_breaks(population, currents)
    first |= first_breaks(population, membranes, needs)
    if not truncates:
        first |= truncation_breaks(population, spare)
    return PopulationBits(
        name=population.name,
        neurons=len(population.bias),
        unit_exponent=population.exponent,
        spare_shift=spare,
        accumulator=accumulator,
        accumulator_bits=bits(accumulator),
        membrane_bits=membrane_bits(population, membranes[:steps]),
        float32_bits=max(ceil_log2(need) for need in needs[:steps]),
        exact_steps=min(min(first.values(), default=HORIZON + 1) - 1, HORIZON),
        breaks=tuple(
            f"population {population.name!r}: {text}"
            for text, step in first.items()
            if step <= steps
        ),
    )


def spare_shift(plan: IntegerPlan, population: Population) -> int:
    """h: every current and the bias are multiples of 2^h units; 64 if all are 0."""
    zeros = [trailing_zeros(population.bias)]
    for c in plan.into(population.name):
        inside = trailing_zeros(c.weights)
        zeros.append(None if inside is None else inside + c.shift)
    return min((z for z in zeros if z is not None), default=64)


@dataclass(frozen=True)
class Drive:
    """What enters a membrane in one step, in units.

    Args:
        current: no |current|, and no partial sum of it with the bias, is larger.
        before: no current of the step before is larger; 0 without memory.
    """

    current: Fraction
    before: Fraction


def drives_of(population: Population, total: int, steps: int) -> list[Drive]:
    """The bounds of the current at each step, when `total` bounds what arrives."""
    shift, found, before = population.current_decay_shift, [], Fraction(0)
    for _ in range(steps):
        current = total + before * (1 - Fraction(1, 2**shift))
        # Arriving and kept current are each as large as `total` and `before` at most.
        found.append(Drive(current, before))
        before = current if shift else Fraction(0)
    return found


def float32_needs(
    population: Population, membranes: list[Range], drives: list[Drive], spare: int
) -> list[Fraction]:
    """At each step, the largest value that float32 meets, in its finest grid.

    An offset (v_reset, in volts) moves every membrane and may be on a finer grid.
    """
    j = population.finest_shift
    offset = int(np.ldexp(population.offset, -population.exponent))
    below = trailing_zeros(np.array([offset]))
    grid = spare if below is None else min(spare, below)
    before, needs = Fraction(0), []
    for step, (least, most) in enumerate(membranes):
        drive = drives[step]
        value = max(drive.current + max(before, drive.before), -least, most)
        needs.append((value + abs(offset)) * Fraction(2) ** (j * step - grid))
        before = after_reset(population, least, most)
    return needs


def truncating_needs(
    population: Population, membranes: list[Range], drives: list[Drive]
) -> list[Fraction]:
    """`float32_needs` where decays truncate: in steps of the chip's membrane."""
    j, i = population.decay_shift or 0, population.current_decay_shift
    offset = abs(Fraction(np.ldexp(population.offset, -population.exponent)))
    before, needs = Fraction(0), []
    for (least, most), drive in zip(membranes, drives, strict=True):
        value = max(drive.current + before, -least, most) + offset
        decaying = max(before * (2**j - 1), drive.before * (2**i - 1))
        needs.append(max(value, decaying) * 2**STATE_SHIFT)
        before = after_reset(population, least, most)
    return needs


def after_reset(population: Population, least: Fraction, most: Fraction) -> Fraction:
    """The largest magnitude of a membrane that was between these two."""
    ceiling = most if population.threshold is None else population.threshold
    return max(-least, Fraction(0), Fraction(min(most, Fraction(ceiling))))


def current_breaks(population: Population, currents: list[Range]) -> dict[str, int]:
    """The first step, from 1, at which the chip's current wraps, by what is said."""
    for step, interval in enumerate(currents, start=1):
        if wraps([interval]):
            least, most = interval
            reach = math.ceil(max(-least, most))
            when = f" at step {step}" if population.current_decay_shift else ""
            text = f"sums of currents reach {reach} units{when}, {bits(reach)} bits, at"
            return {f"{text} most {ACCUMULATOR_BITS}": step}
    return {}


def first_breaks(
    population: Population, membranes: list[Range], needs: list[Fraction]
) -> dict[str, int]:
    """Likewise the first at which the membrane, or float32, leaves its bounds."""
    found: dict[str, int] = {}
    for step, interval in enumerate(membranes, start=1):
        if clips(population, interval):
            least, most = (float(x) for x in interval)
            text = f"the membrane lies in {least} to {most} units at step {step}; the"
            found[f"{text} chip clips at +-131072"] = step
            break
    for step, need in enumerate(needs, start=1):
        if need > 2**FLOAT32_BITS:
            text = f"float32 needs {ceil_log2(need)} bits at step {step}"
            found[f"{text}, has {FLOAT32_BITS}"] = step
            break
    return found


def truncation_breaks(population: Population, spare: int) -> dict[str, int]:
    """The first step at which the chip truncates what the node would keep."""
    j = population.finest_shift
    if not j or (whole := 1 + (STATE_SHIFT + spare) // j) >= HORIZON:
        return {}
    text = f"the chip's decay truncates from step {whole + 1} on: j (T - 1) > 6 + h"
    return {f"{text} with j = {j}, h = {spare}": whole + 1}


def membrane_bits(population: Population, membranes: list[Range]) -> int:
    """Bits, with sign, of the membrane on the chip; what clips harmlessly left out."""
    top = max(-least for least, _ in membranes)
    if population.threshold is None:
        top = max(top, *(most for _, most in membranes))
    else:
        top = max(top, Fraction(population.threshold))
    return bits(int(top * 2**STATE_SHIFT)) + 1


def ceil_log2(value: Fraction) -> int:
    """Bits that count up to `value`: the least n >= 0 with value <= 2^n."""
    whole = -(-value.numerator // value.denominator)
    return bits(max(whole, 1) - 1)


def map_breaks(graph: SpikingGraph) -> tuple[str, ...]:
    """Maps whose partial sums could leave float32's 24 bits."""
    found = []
    for name, need in map_needs(graph).items():
        if need > 2**FLOAT32_BITS:
            count = ceil_log2(Fraction(need))
            found.append(
                f"node {name!r}: float32 needs {count} bits for partial sums, has"
                f" {FLOAT32_BITS}"
            )
    return tuple(found)


def range_breaks(graph: SpikingGraph, plan: IntegerPlan, steps: int) -> tuple[str, ...]:
    """Grids whose multiples are subnormal in float32, or beyond it."""
    grids = {
        f"node {name!r}": dyadic(node.weight, "weight").exponent
        for name, node in graph.nodes.items()
        if isinstance(node, Weighted)
    }
    for p in plan.populations:
        bits_a_step = 0 if decay_of(graph, p) == "truncate" else p.finest_shift
        finest = p.exponent - bits_a_step * (steps - 1)
        grids[f"population {p.name!r} at step {steps}"] = finest
        grids[f"population {p.name!r}"] = p.exponent
    low, high = FLOAT32_GRIDS
    return tuple(
        f"{where}: its grid is 2^{exponent}; float32 needs 2^{low} to 2^{high}"
        for where, exponent in grids.items()
        if not low <= exponent <= high
    )


def map_needs(graph: SpikingGraph) -> dict[str, float]:
    """For each map, the largest sum |w| |x| + |b| in units of its finest grid.

    float64 with bounds below 2^53 is exact; a bound that is not is far above 2^24.
    """
    low, high, exponent = input_interval(graph)
    sizes: dict[str, Array] = {}
    grids: dict[str, int] = {}
    needs: dict[str, float] = {}
    for name in graph.order:
        node = graph.nodes[name]
        shape = graph.shapes[name]
        if isinstance(node, Input):
            sizes[name] = np.ldexp(np.maximum(-low, high).reshape(shape), exponent)
            grids[name] = exponent
        elif isinstance(node, Map):
            before = graph.predecessors(name)
            arriving = np.sum([sizes[p] for p in before], axis=0)
            sizes[name] = absolute(node).apply(arriving[None])[0]
            grids[name] = grid_after(node, min(grids[p] for p in before))
            needs[name] = float(np.ldexp(sizes[name].max(), -grids[name]))
        else:
            sizes[name], grids[name] = np.ones(shape), 0
    return needs


def absolute(node: Map) -> Map:
    """The map with every weight and bias replaced by its magnitude."""
    if isinstance(node, Weighted):
        return replace(node, weight=np.abs(node.weight), bias=np.abs(node.bias))
    if isinstance(node, Scale):
        return replace(node, scale=np.abs(node.scale))
    return node


def grid_after(node: Map, grid: int) -> int:
    """log2 of the power of two that divides every partial sum of a map.

    Args:
        node: the map.
        grid: of what arrives, log2.
    """
    if isinstance(node, SumPool2d):
        return grid + dyadic(np.array(node.scale), "scale").exponent
    if isinstance(node, Scale):
        return grid + dyadic(node.scale, "scale").exponent
    if not isinstance(node, Weighted):
        return grid
    product = grid + dyadic(node.weight, "weight").exponent
    bias = dyadic(node.bias, "bias")
    return min(product, bias.exponent) if largest(bias.mantissas) else product
