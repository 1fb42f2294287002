"""One population and all that arrives there, exact, in volts: a plan before its units.

Here the parameters of neurons become a gain, a decay and a threshold, and what the chip
cannot hold, whatever the unit, is collected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from stars.grid.exact import Dyadic, add, dyadic, largest
from stars.grid.unrolling import Linear, total

DECAY_SHIFTS = range(1, 13)  # k = 2^-j as a 12-bit fraction of 4096
CURRENT_SHIFTS = range(13)  # likewise; at 2^0 nothing of a current is kept


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """The exact weights of one edge into a population, volts a step, k r included."""

    source: str
    way: str
    weights: Dyadic


@dataclass(frozen=True, eq=False)
class NeuronConstants:
    """The exact constants of a population's neurons.

    Args:
        gain: k r, [N]: volts a step for each volt of input; with a synaptic current
            times (dt / tau_syn) w_in, because the input then enters that current.
        spiking, decay_shift, current_decay_shift, offset: see Population.
        threshold: above v_reset, volts.
        chip_step: log2 of the chip's membrane step in volts, where the node sets it
            because its decay truncates there.
        violations: what does not fit the chip, in any unit.
    """

    gain: Dyadic
    spiking: bool = True
    decay_shift: int | None = None
    current_decay_shift: int = 0
    threshold: Dyadic | None = None
    offset: float = 0.0
    chip_step: int | None = None
    violations: tuple[str, ...] = ()

    @property
    def finest_shift(self) -> int:
        """Bits that a step adds below the last one: the slower decay's shift."""
        return max(self.decay_shift or 0, self.current_decay_shift)


@dataclass(frozen=True, eq=False)
class Draft:
    """A population before its unit is chosen; all values are exact, in volts.

    Args:
        name, shape: see Population.
        neurons: its constants.
        edges: the weights of each edge.
        bias: added at every step, [N].
    """

    name: str
    shape: Shape
    neurons: NeuronConstants
    edges: tuple[EdgeWeights, ...]
    bias: Dyadic

    @property
    def violations(self) -> tuple[str, ...]:
        """What does not fit the chip, in any unit."""
        if self.neurons.current_decay_shift and largest(self.bias.mantissas):
            return (
                *self.neurons.violations,
                f"node {self.name!r}: a bias arrives with its input and would enter its"
                " synaptic current; the chip adds a bias to the membrane alone: train"
                " without bias before a CubaLIF",
            )
        return self.neurons.violations

    def increment_exponent(self) -> int | None:
        """log2 of the largest power of two in all that is added to the membrane."""
        values = [*(edge.weights for edge in self.edges), self.bias]
        return min(
            (v.reduced().exponent for v in values if largest(v.mantissas)), default=None
        )

    def unit(self) -> int:
        """log2 of the largest power of two that divides everything."""
        constants = [dyadic(np.array(self.neurons.offset), "v_reset")]
        if self.neurons.threshold is not None:
            constants.append(self.neurons.threshold)
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
    node = graph.nodes[name]
    rule = CONSTANTS.get(type(node))
    if rule is None:
        raise UnsupportedNodeError(
            f"node {name!r} is a {type(node).__name__}; integer forms are known for"
            f" {', '.join(sorted(kind.__name__ for kind in CONSTANTS))}"
        )
    try:
        neurons = rule(name, node, graph.dt)
    except GraphError as error:
        raise GraphError(
            f"not on the grid, where 'stars quantize' may put it: node {name!r}:"
            f" {error}"
        ) from error
    gain = neurons.gain
    edges = tuple(
        EdgeWeights(
            source,
            way,
            scale_rows(gain, part, input_exponent if source == graph.input else 0),
        )
        for way, linear in zip(graph.predecessors(name), arriving, strict=True)
        for source, part in linear.parts.items()
    )
    bias = total(tuple(arriving)).bias
    return Draft(
        name=name,
        shape=graph.shapes[name],
        neurons=neurons,
        edges=edges,
        bias=Dyadic(bias.mantissas * gain.mantissas, bias.exponent + gain.exponent),
    )


def lif_constants(name: str, node: LIF, dt: float) -> NeuronConstants:
    """Those of a leaky population."""
    shift, wrong = decay_shift(name, "tau", node.tau, dt, DECAY_SHIFTS)
    r = dyadic(node.r, "r")
    gain = Dyadic(r.mantissas.ravel(), r.exponent - shift)
    return leaky_constants(name, node, gain, shift, wrong)


def cuba_constants(name: str, node: CubaLIF, dt: float) -> NeuronConstants:
    """Those of a leaky population with a synaptic current.

    The chip's current is k r u, what a step adds to the membrane, so that r goes into
    what arrives there, as (dt / tau_syn) w_in does.
    """
    shift, wrong = decay_shift(name, "tau_mem", node.tau_mem, dt, DECAY_SHIFTS)
    current, off_grid = decay_shift(name, "tau_syn", node.tau_syn, dt, CURRENT_SHIFTS)
    wrong = wrong + off_grid
    if (np.abs(np.frexp(node.r)[0]) != 0.5).any():
        wrong.append(
            f"node {name!r}: r lies in {node.r.min()} to {node.r.max()}; before a"
            " current with memory it must be a power of two: move the rest into w_in"
        )
    r, w_in = dyadic(node.r, "r"), dyadic(node.w_in, "w_in")
    gain = Dyadic(
        (r.mantissas * w_in.mantissas).ravel(),
        r.exponent + w_in.exponent - shift - current,
    )
    return leaky_constants(name, node, gain, shift, wrong, current)


def leaky_constants(
    name: str,
    node: LIF | CubaLIF,
    gain: Dyadic,
    shift: int,
    wrong: list[str],
    current_shift: int = 0,
) -> NeuronConstants:
    """Those that both have: a membrane that leaks, a threshold and a reset."""
    reset, leak = float(node.v_reset.flat[0]), float(node.v_leak.flat[0])
    if (node.v_leak != node.v_reset).any():
        wrong = [
            *wrong,
            f"node {name!r}: v_leak is {leak!r} and v_reset {reset!r}; they must be"
            " equal, for the chip's membrane starts and rests where it resets",
        ]
    step = node.membrane_step
    return NeuronConstants(
        gain=gain,
        decay_shift=shift,
        current_decay_shift=current_shift,
        threshold=threshold(node),
        offset=reset,
        chip_step=None if step is None else math.frexp(step)[1] - 1,
        violations=(*uneven(name, node), *wrong),
    )


def if_constants(name: str, node: IF, dt: float) -> NeuronConstants:
    """Those of a population that keeps all of its membrane; dt r is its gain."""
    wrong = uneven(name, node)
    if node.v_reset.any():
        wrong.append(
            f"node {name!r}: v_reset is {float(node.v_reset.flat[0])!r}, expected 0,"
            " for the chip's membrane resets to where it starts"
        )
    return NeuronConstants(
        gain=dyadic((dt * node.r).ravel(), "dt r"),
        threshold=threshold(node),
        violations=tuple(wrong),
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


def integrator_constants(_: str, node: Integrator, dt: float) -> NeuronConstants:
    """Those of a population that only sums; dt r is its gain."""
    return NeuronConstants(gain=dyadic((dt * node.r).ravel(), "dt r"), spiking=False)


CONSTANTS: Mapping[type[Node], Callable[[str, Any, float], NeuronConstants]] = {
    IF: if_constants,
    LIF: lif_constants,
    CubaLIF: cuba_constants,
    Integrator: integrator_constants,
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
