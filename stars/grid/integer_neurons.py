"""Populations before their unit is chosen: exact numbers in volts, not yet integers.

For each neuron node, `draft_population` turns the parameters into a gain, a decay and a
threshold, and folds the gain into the weights and the bias that arrive. It also
collects what the chip cannot hold in any unit. `stars.grid.lowering` then chooses the
unit.
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
from stars.grid.convolution import Convolution, convolution_of
from stars.grid.exact import Dyadic, add, dyadic, largest
from stars.grid.unrolling import Linear, total

DECAY_SHIFTS = range(1, 13)  # j of k = 2^-j; the chip holds 4096 k
CURRENT_SHIFTS = range(13)  # the same for currents; j = 0 keeps nothing


@dataclass(frozen=True, eq=False)
class EdgeWeights:
    """The exact weights of one edge into a population, volts a step, k r included.

    The kernel of a convolution is in units of the weights' mantissas.
    """

    source: str
    way: str
    weights: Dyadic
    convolution: Convolution | None


@dataclass(frozen=True, eq=False)
class NeuronConstants:
    """The exact constants of a population's neurons.

    Args:
        gain: k r, [N]: volts a step for each volt of input. With a synaptic current it
            is k r w_in dt / tau_syn, because the input enters that current.
        spiking, decay_shift, current_decay_shift, offset: see Population.
        threshold: above v_reset, volts.
        chip_step: log2 of the chip's membrane step in volts, if the node's decay
            truncates; else None.
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
                " synaptic current, but the chip adds a bias to the membrane only;"
                " train without bias before a CubaLIF",
            )
        return self.neurons.violations

    def increment_exponent(self) -> int | None:
        """log2 of the largest power of two that divides every weight and the bias."""
        values = [*(edge.weights for edge in self.edges), self.bias]
        return min(
            (v.reduced().exponent for v in values if largest(v.mantissas)), default=None
        )

    def unit(self) -> int:
        """log2 of the largest power of two that divides all values of the draft."""
        constants = [dyadic(np.array(self.neurons.offset), "v_reset")]
        if self.neurons.threshold is not None:
            constants.append(self.neurons.threshold)
        found = [c.reduced().exponent for c in constants if largest(c.mantissas)]
        increment = self.increment_exponent()
        return min(found if increment is None else [*found, increment], default=0)


def draft_population(
    graph: SpikingGraph, name: str, arriving: Sequence[Linear], input_exponent: int
) -> Draft:
    """The draft of neuron node `name`, with the weights and the bias that arrive.

    Raises:
        GraphError: a parameter is off the grid.
        UnsupportedNodeError: the neuron has no integer form.
    """
    node = graph.nodes[name]
    rule = CONSTANTS.get(type(node))
    if rule is None:
        raise UnsupportedNodeError(
            f"node {name!r} is a {type(node).__name__}, which has no integer form;"
            f" use one of {', '.join(sorted(kind.__name__ for kind in CONSTANTS))}"
        )
    try:
        neurons = rule(name, node, graph.dt)
    except GraphError as error:
        raise GraphError(
            f"not on the grid ('stars quantize' puts it there): node {name!r}: {error}"
        ) from error
    gain, exponents = neurons.gain, {graph.input: input_exponent}
    edges = tuple(
        edge_weights(source, way, linear, gain, exponents.get(source, 0))
        for way, linear in zip(graph.predecessors(name), arriving, strict=True)
        for source in linear.parts
    )
    volts = total(tuple(arriving)).bias
    bias = Dyadic(volts.mantissas * gain.mantissas, volts.exponent + gain.exponent)
    return Draft(name, graph.shapes[name], neurons, edges, bias)


def edge_weights(
    source: str, way: str, linear: Linear, gain: Dyadic, exponent: int
) -> EdgeWeights:
    """The weights from `source` in `linear`, times the gain and 2^exponent."""
    weights = scale_rows(gain, linear.parts[source], exponent)
    geometry = linear.geometries.get(source)
    found = None if geometry is None else convolution_of(geometry, weights.mantissas)
    return EdgeWeights(source, way, weights, found)


def lif_constants(name: str, node: LIF, dt: float) -> NeuronConstants:
    """The constants of a leaky population."""
    shift, wrong = decay_shift(name, "tau", node.tau, dt, DECAY_SHIFTS)
    r = dyadic(node.r, "r")
    gain = Dyadic(r.mantissas.ravel(), r.exponent - shift)
    return leaky_constants(name, node, gain, shift, wrong)


def cuba_constants(name: str, node: CubaLIF, dt: float) -> NeuronConstants:
    """The constants of a leaky population with a synaptic current.

    The chip's current is k r u, which a step adds to the membrane. So r is part of the
    gain, and so is (dt / tau_syn) w_in.
    """
    shift, wrong = decay_shift(name, "tau_mem", node.tau_mem, dt, DECAY_SHIFTS)
    current, off_grid = decay_shift(name, "tau_syn", node.tau_syn, dt, CURRENT_SHIFTS)
    wrong = wrong + off_grid
    if (np.abs(np.frexp(node.r)[0]) != 0.5).any():
        wrong.append(
            f"node {name!r}: r is {node.r.min()} to {node.r.max()}; with a synaptic"
            " current it must be a power of two: move the rest into w_in"
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
    """The constants of a membrane that leaks, with a threshold and a reset."""
    reset, leak = float(node.v_reset.flat[0]), float(node.v_leak.flat[0])
    if (node.v_leak != node.v_reset).any():
        wrong = [
            *wrong,
            f"node {name!r}: v_leak is {leak!r} and v_reset {reset!r}; they must be"
            " equal, because the chip's membrane starts and rests at its reset value",
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
    """The constants of a population without leak; its gain is dt r."""
    wrong = uneven(name, node)
    if node.v_reset.any():
        wrong.append(
            f"node {name!r}: v_reset is {float(node.v_reset.flat[0])!r}, expected 0,"
            " because the chip's membrane resets to its initial value"
        )
    return NeuronConstants(
        gain=dyadic((dt * node.r).ravel(), "dt r"),
        threshold=threshold(node),
        violations=tuple(wrong),
    )


def uneven(name: str, node: IF | LIF | CubaLIF) -> list[str]:
    """The parameters that differ between neurons, but that the chip has only once."""
    return [
        f"node {name!r}: {field_name} differs from neuron to neuron ({value.min()} to"
        f" {value.max()}); the chip has one for each population"
        for field_name, value in node.parameters().items()
        if isinstance(value, np.ndarray)
        and field_name not in ("r", "w_in")
        and np.ptp(value) > 0
    ]


def threshold(node: IF | LIF | CubaLIF) -> Dyadic:
    """The threshold of the first neuron above v_reset, volts, [1]."""
    return add(
        dyadic(node.v_threshold.flat[:1], "v_threshold"),
        dyadic(-node.v_reset.flat[:1], "v_reset"),
    )


def decay_shift(
    name: str, tau_name: str, tau: Array, dt: float, allowed: range
) -> tuple[int, list[str]]:
    """(j in dt / tau = 2^-j of the first neuron, reasons why it does not fit)."""
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
    """The constants of a population that only sums; its gain is dt r."""
    return NeuronConstants(gain=dyadic((dt * node.r).ravel(), "dt r"), spiking=False)


CONSTANTS: Mapping[type[Node], Callable[[str, Any, float], NeuronConstants]] = {
    IF: if_constants,
    LIF: lif_constants,
    CubaLIF: cuba_constants,
    Integrator: integrator_constants,
}


# Why some other nodes have no integer form.
NO_INTEGERS: Mapping[type[Node], str] = {
    Delay: "Lava streams inputs through one network and resets its neurons between"
    " them, but not its delays: the end of one input would appear in the next",
    LI: "only spikes can be passed on; use an Integrator as readout",
    CubaLI: "only spikes can be passed on; use an Integrator as readout",
}


def scale_rows(gain: Dyadic, part: Dyadic, exponent: int) -> Dyadic:
    """`part` with each row multiplied by its gain and 2^exponent."""
    matrix = part.mantissas.copy()
    matrix.data = matrix.data * np.repeat(gain.mantissas, np.diff(matrix.indptr))
    return Dyadic(matrix, part.exponent + gain.exponent + exponent).reduced()
