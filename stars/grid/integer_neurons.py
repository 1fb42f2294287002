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

from stars.errors import GraphError, UnsupportedNodeError
from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Array,
    CubaLI,
    CubaLIF,
    Delay,
    Integrator,
    Node,
    Shape,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.convolution import Convolution, convolution_of
from stars.grid.exact import Dyadic, add, dyadic, largest
from stars.grid.unrolling import Linear, total

DECAY_SHIFTS = range(1, 13)  # k = 2^-j as a 12-bit fraction of 4096
CURRENT_SHIFTS = range(13)  # likewise; at 2^0 nothing of a current is kept
ZERO = Dyadic(np.zeros(1, np.int64), 0)


@dataclass(frozen=True, eq=False)
class Arrival:
    """What one edge brings to a population: exact, in volts a step, k r folded in.

    The kernel of a convolution is in units of the weights' mantissas.
    """

    source: str
    way: str
    weights: Dyadic
    convolution: Convolution | None


@dataclass
class Draft:
    """A population before its unit is chosen.

    Args:
        name, shape, spiking, decay_shift, offset: see Population.
        gain: k r, [N]: volts a step for each volt of input; with a synaptic current
            times (dt / tau_syn) w_in, for then it enters that.
        current_decay_shift: see Population.
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
    current_decay_shift: int = 0
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

    @property
    def finest_shift(self) -> int:
        """Bits that a step adds below the last one: the slower decay's shift."""
        return max(self.decay_shift or 0, self.current_decay_shift)

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
            f"not on the grid, where 'stars quantize' may put it: node {name!r}:"
            f" {error}"
        ) from error
    for way, linear in zip(graph.predecessors(name), arriving, strict=True):
        for source, part in linear.parts.items():
            scale = input_exponent if source == graph.input else 0
            weights = scale_rows(draft.gain, part, scale)
            found = None
            if (geometry := linear.geometries.get(source)) is not None:
                found = convolution_of(geometry, weights.mantissas)
            draft.arrivals.append(Arrival(source, way, weights, found))
    bias = total(tuple(arriving)).bias
    draft.bias = Dyadic(
        bias.mantissas * draft.gain.mantissas, bias.exponent + draft.gain.exponent
    )
    if draft.current_decay_shift and largest(draft.bias.mantissas):
        draft.violations.append(
            f"node {name!r}: a bias arrives with its input and would enter its synaptic"
            " current; the chip adds a bias to the membrane alone: train without bias"
            " before a CubaLIF"
        )
    return draft


def draft_lif(name: str, node: LIF, dt: float) -> Draft:
    """A leaky population, with what the chip cannot hold in `violations`."""
    draft = draft_leaky(name, node, node.tau, dt)
    r = dyadic(node.r, "r")
    draft.gain = Dyadic(r.mantissas.ravel(), r.exponent - draft.finest_shift)
    return draft


def draft_cuba(name: str, node: CubaLIF, dt: float) -> Draft:
    """A leaky population with a synaptic current, likewise.

    The chip's current is k r u, what a step adds to the membrane, so that r goes into
    what arrives there, as (dt / tau_syn) w_in does.
    """
    draft = draft_leaky(name, node, node.tau_mem, dt)
    shift, wrong = decay_shift(name, "tau_syn", node.tau_syn, dt, CURRENT_SHIFTS)
    draft.violations += wrong
    draft.current_decay_shift = shift
    r, w_in = dyadic(node.r, "r"), dyadic(node.w_in, "w_in")
    if (np.abs(np.frexp(node.r)[0]) != 0.5).any():
        draft.violations.append(
            f"node {name!r}: r lies in {node.r.min()} to {node.r.max()}; before a"
            " current with memory it must be a power of two: move the rest into w_in"
        )
    draft.gain = Dyadic(
        (r.mantissas * w_in.mantissas).ravel(),
        r.exponent + w_in.exponent - (draft.decay_shift or 0) - shift,
    )
    return draft


def draft_leaky(name: str, node: LIF | CubaLIF, tau: Array, dt: float) -> Draft:
    """What both have: a membrane that leaks, a threshold, a reset; without a gain."""
    wrong = uneven(name, node)
    tau_name = "tau" if isinstance(node, LIF) else "tau_mem"
    shift, off_grid = decay_shift(name, tau_name, tau, dt, DECAY_SHIFTS)
    wrong += off_grid
    reset, leak = float(node.v_reset.flat[0]), float(node.v_leak.flat[0])
    if (node.v_leak != node.v_reset).any():
        wrong.append(
            f"node {name!r}: v_leak is {leak!r} and v_reset {reset!r}; they must be"
            " equal, for the chip's membrane starts and rests where it resets"
        )
    step = node.membrane_step
    return Draft(
        name=name,
        shape=node.shape,
        spiking=True,
        gain=ZERO,
        decay_shift=shift,
        threshold=threshold(node),
        offset=reset,
        chip_step=None if step is None else math.frexp(step)[1] - 1,
        violations=wrong,
    )


def draft_integrate_and_fire(name: str, node: IF, dt: float) -> Draft:
    """A population that keeps all of its membrane, likewise; dt r is its gain."""
    wrong = uneven(name, node)
    if node.v_reset.any():
        wrong.append(
            f"node {name!r}: v_reset is {float(node.v_reset.flat[0])!r}, expected 0,"
            " for the chip's membrane resets to where it starts"
        )
    return Draft(
        name=name,
        shape=node.shape,
        spiking=True,
        gain=dyadic((dt * node.r).ravel(), "dt r"),
        threshold=threshold(node),
        violations=wrong,
    )


def uneven(name: str, node: IF | LIF | CubaLIF) -> list[str]:
    """What the chip has once for a population, and its neurons have each their own."""
    return [
        f"node {name!r}: {field_name} differs from neuron to neuron ({value.min()} to"
        f" {value.max()}); the chip has one for each population"
        for field_name, value in node.parameters().items()
        if isinstance(value, np.ndarray)
        and field_name not in ("r", "w_in")
        and np.ptp(value) > 0
    ]


def threshold(node: IF | LIF | CubaLIF) -> Dyadic:
    """Of the population's first neuron, above v_reset, volts, [1]."""
    return add(
        dyadic(node.v_threshold.flat[:1], "v_threshold"),
        dyadic(-node.v_reset.flat[:1], "v_reset"),
    )


def decay_shift(
    name: str, tau_name: str, tau: Array, dt: float, allowed: range
) -> tuple[int, list[str]]:
    """(j in dt / tau = 2^-j of a population's first neuron, why that does not fit)."""
    k = dt / float(tau.flat[0])
    mantissa, exponent = math.frexp(k)
    shift = 1 - exponent
    if mantissa == 0.5 and shift in allowed:
        return shift, []
    ratio = f"k = dt / {tau_name}" if tau_name == "tau" else f"dt / {tau_name}"
    return shift, [
        f"node {name!r}: {ratio} is {k!r}, expected 2^-j with j from {allowed[0]} to"
        f" {allowed[-1]}; 'stars quantize --round-decay' takes the nearest"
    ]


def draft_integrator(name: str, node: Integrator, dt: float) -> Draft:
    """A population that only sums; dt r is its gain."""
    gain = dyadic((dt * node.r).ravel(), "dt r")
    return Draft(name=name, shape=node.shape, spiking=False, gain=gain)


DRAFTS: Mapping[type[Node], Callable[[str, Any, float], Draft]] = {
    IF: draft_integrate_and_fire,
    LIF: draft_lif,
    CubaLIF: draft_cuba,
    Integrator: draft_integrator,
}


# Why others have none, where that is not plain from what they are.
NO_INTEGERS: Mapping[type[Node], str] = {
    Delay: "Lava streams inputs through one network, and resets neurons between them"
    " but not what is on its way: the end of one input would come out in the next",
    LI: "only spikes are handed on; the readout is an Integrator",
    CubaLI: "only spikes are handed on; the readout is an Integrator",
}


def scale_rows(gain: Dyadic, part: Dyadic, exponent: int) -> Dyadic:
    """Each row of `part` times its gain and 2^exponent."""
    matrix = part.mantissas.copy()
    matrix.data = matrix.data * np.repeat(gain.mantissas, np.diff(matrix.indptr))
    return Dyadic(matrix, part.exponent + gain.exponent + exponent).reduced()
