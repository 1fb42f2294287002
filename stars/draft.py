"""One population and all that arrives there, exact, in volts: a plan before its units.

Here the parameters of neurons become a gain, a decay and a threshold, and what the chip
cannot hold, whatever the unit, is collected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stars.compose import Linear, total
from stars.dyadic import Dyadic, add, dyadic, largest
from stars.errors import GraphError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.nodes import LIF, Integrator, Node, Shape

DECAY_SHIFTS = range(1, 13)  # k = 2^-j as a 12-bit fraction of 4096
ZERO = Dyadic(np.zeros(1, np.int64), 0)


@dataclass(frozen=True, eq=False)
class Arrival:
    """What one edge brings to a population: exact, in volts a step, k r folded in."""

    source: str
    way: str
    weights: Dyadic


@dataclass
class Draft:
    """A population before its unit is chosen.

    Args:
        name, shape, spiking, decay_shift, offset: see Population.
        gain: k r, [N]: volts a step for each volt of input.
        threshold: above v_reset, volts.
        chip_step: log2 of the volts that the chip's membrane counts in, where the node
            says so: its decay truncates there.
        violations: what does not fit, whatever the unit.
    """

    name: str
    shape: Shape
    spiking: bool
    gain: Dyadic
    decay_shift: int | None = None
    threshold: Dyadic | None = None
    offset: float = 0.0
    chip_step: int | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    bias: Dyadic = ZERO
    violations: list[str] = field(default_factory=list)

    def increment_exponent(self) -> int | None:
        """log2 of the largest power of two in all that is added to the membrane."""
        values = [*(a.weights for a in self.arrivals), self.bias]
        return min(
            (v.reduced().exponent for v in values if largest(v.mantissas)), default=None
        )

    def unit(self) -> int:
        """log2 of the largest power of two that divides everything."""
        constants = [dyadic(np.array(self.offset), "v_reset"), self.threshold or ZERO]
        found = [c.reduced().exponent for c in constants if largest(c.mantissas)]
        increment = self.increment_exponent()
        return min(found if increment is None else [*found, increment], default=0)


def draft_population(
    graph: SpikingGraph, name: str, arriving: Sequence[Linear], input_exponent: int
) -> Draft:
    """The neuron node `name` and what arrives there, exact, in volts.

    Raises:
        GraphError: a parameter is off the grid.
        UnsupportedNodeError: a neuron that has no integer form.
    """
    rule = DRAFTS.get(type(graph.nodes[name]))
    if rule is None:
        raise UnsupportedNodeError(
            f"node {name!r} is a {type(graph.nodes[name]).__name__}; integer forms are"
            f" known for {', '.join(sorted(kind.__name__ for kind in DRAFTS))}"
        )
    try:
        draft = rule(name, graph.nodes[name], graph.dt)
    except GraphError as error:
        raise GraphError(
            f"not on the grid, where 'stars quantise' may put it: node {name!r}:"
            f" {error}"
        ) from error
    for way, linear in zip(graph.predecessors(name), arriving, strict=True):
        for source, part in linear.parts.items():
            scale = input_exponent if source == graph.input else 0
            weights = scale_rows(draft.gain, part, scale)
            draft.arrivals.append(Arrival(source, way, weights))
    bias = total(tuple(arriving)).bias
    draft.bias = Dyadic(
        bias.mantissas * draft.gain.mantissas, bias.exponent + draft.gain.exponent
    )
    return draft


def draft_lif(name: str, node: LIF, dt: float) -> Draft:
    """A leaky population, with what the chip cannot hold in `violations`."""
    wrong = [
        f"node {name!r}: {field_name} differs from neuron to neuron ({value.min()} to"
        f" {value.max()}); the chip has one for each population"
        for field_name, value in node.parameters().items()
        if isinstance(value, np.ndarray) and field_name != "r" and np.ptp(value) > 0
    ]
    k = dt / float(node.tau.flat[0])
    mantissa, exponent = math.frexp(k)
    shift = 1 - exponent
    if mantissa != 0.5 or shift not in DECAY_SHIFTS:
        wrong.append(
            f"node {name!r}: k = dt / tau is {k!r}, expected 2^-j with j from"
            f" {DECAY_SHIFTS[0]} to {DECAY_SHIFTS[-1]}; 'stars quantise --round-decay'"
            " takes the nearest"
        )
    reset, leak = float(node.v_reset.flat[0]), float(node.v_leak.flat[0])
    if (node.v_leak != node.v_reset).any():
        wrong.append(
            f"node {name!r}: v_leak is {leak!r} and v_reset {reset!r}; they must be"
            " equal, for the chip's membrane starts and rests where it resets"
        )
    r, step = dyadic(node.r, "r"), node.membrane_step
    threshold = add(
        dyadic(node.v_threshold.flat[:1], "v_threshold"),
        dyadic(-node.v_reset.flat[:1], "v_reset"),
    )
    return Draft(
        name=name,
        shape=node.shape,
        spiking=True,
        gain=Dyadic(r.mantissas.ravel(), r.exponent - shift),
        decay_shift=shift,
        threshold=threshold,
        offset=reset,
        chip_step=None if step is None else math.frexp(step)[1] - 1,
        violations=wrong,
    )


def draft_integrator(name: str, node: Integrator, dt: float) -> Draft:
    """A population that only sums; dt r is its gain."""
    gain = dyadic((dt * node.r).ravel(), "dt r")
    return Draft(name=name, shape=node.shape, spiking=False, gain=gain)


DRAFTS: Mapping[type[Node], Callable[[str, Any, float], Draft]] = {
    LIF: draft_lif,
    Integrator: draft_integrator,
}


def scale_rows(gain: Dyadic, part: Dyadic, exponent: int) -> Dyadic:
    """Each row of `part` times its gain and 2^exponent."""
    matrix = part.mantissas.copy()
    matrix.data = matrix.data * np.repeat(gain.mantissas, np.diff(matrix.indptr))
    return Dyadic(matrix, part.exponent + gain.exponent + exponent).reduced()
