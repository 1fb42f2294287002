"""lower(graph) -> IntegerPlan: turns a graph on the grid into integers, exactly.

A graph stores no exponents; they are derived here. One unit of a population is the
largest power of two that divides all its weights, its bias and its threshold. The unit
is made finer if a run of T steps needs more than the chip's 6 fractional bits and the
sums leave room for that (`spare_wanted`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from stars.errors import GraphError, LimitError, UnsupportedNodeError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import Array, Input, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.exact import Integers, bits, largest, trailing_zeros
from stars.grid.integer_neurons import (
    CONSTANTS,
    NO_INTEGERS,
    Draft,
    EdgeWeights,
    draft_population,
)
from stars.grid.intervals import Interval, spike_interval
from stars.grid.plan import (
    ACCUMULATOR_BITS,
    BIAS_EXPONENTS,
    BIAS_LIMIT,
    SHIFT_LIMIT,
    STATE_SHIFT,
    THRESHOLD_BITS,
    WEIGHT_LIMIT,
    Connection,
    IntegerPlan,
    Population,
    accumulator_interval,
    clips,
    currents_of,
    membranes_of,
    wraps,
)
from stars.grid.unrolling import UNROLL, compose


def lower(graph: SpikingGraph) -> IntegerPlan:
    """`graph` as an integer plan, without rounding.

    The plan computes the same spikes and membranes as the graph for as many steps as
    `stars.grid.certify` says.

    Raises:
        GraphError: a weight, bias, threshold or reset is off the grid; names every such
            map.
        LimitError: the integers do not fit the chip; holds every violation.
        UnsupportedNodeError: a node has no integer form.
    """
    placed = place_all(graph)
    violations = [text for p in placed for text in p.violations]
    if violations:
        raise LimitError("integer plan", violations)
    low, high, input_exponent = input_interval(graph)
    return IntegerPlan(
        input_name=graph.input,
        input_shape=graph.shapes[graph.input],
        input_exponent=input_exponent,
        input_low=low,
        input_high=high,
        populations=tuple(p.population for p in placed),
        connections=tuple(c for p in placed for c in p.connections),
        steps=graph.steps,
    )


def place_all(graph: SpikingGraph) -> list[Placed]:
    """All populations in their units, in execution order, with their violations.

    Raises:
        GraphError: a value is off the grid. LimitError: a product is too large to be
        unrolled. UnsupportedNodeError: nodes have no integer form, or there is a cycle;
        names all.
    """
    graph.check_supported(
        {Input, Output, *UNROLL, *CONSTANTS},
        "integer plan: no integer form",
        cycles=False,
        because=NO_INTEGERS,
    )
    check_sources(graph)
    low, high, input_exponent = input_interval(graph)
    arriving = compose(graph)
    sources = {graph.input: (low, high)}
    latency = {graph.input: -1}
    placed: list[Placed] = []
    for name in graph.neurons:
        draft = draft_population(graph, name, arriving[name], input_exponent)
        latency[name] = 1 + max(latency[edge.source] for edge in draft.edges)
        sources[name] = spike_interval(math.prod(graph.shapes[name]))
        placed.append(place_best(draft, graph.steps, latency, sources))
    return placed


def check_sources(graph: SpikingGraph) -> None:
    """Refuse graphs in which a membrane feeds another node than the output.

    Raises:
        UnsupportedNodeError: an integrator feeds another node.
    """
    for name in graph.neurons:
        if not graph.neuron(name).spiking and name != graph.readout:
            raise UnsupportedNodeError(
                f"node {name!r} passes its membrane to {graph.successors(name)}; in an"
                " integer plan every neuron but the readout must spike"
            )


def input_interval(graph: SpikingGraph) -> tuple[Integers, Integers, int]:
    """(Least and largest integer of each input value, log2 of their unit).

    Without an encoding, or with one that makes spikes, the input is spikes.

    Raises:
        GraphError: encoding and input differ in their number of channels.
    """
    shape = graph.shapes[graph.input]
    if not isinstance(graph.encoding, DirectEncoding):
        return *spike_interval(math.prod(shape)), 0
    levels = graph.encoding.levels()
    if len(levels) != shape[0]:
        raise GraphError(
            f"the encoding has {len(levels)} channels, the input {graph.input!r} has"
            f" shape {shape}"
        )
    each = math.prod(shape[1:])
    low, high = np.repeat(levels.min(axis=1), each), np.repeat(levels.max(axis=1), each)
    return low, high, graph.encoding.exponent


def input_violation(graph: SpikingGraph, inputs: Array) -> str | None:
    """Why a certificate does not hold for these inputs; None if it holds.

    A certificate assumes spikes, or what the graph's encoding can make of an image.

    Args:
        graph: says which inputs its certificate is for.
        inputs: [T, B, *input shape].
    """
    low, high, exponent = input_interval(graph)
    shape = graph.shapes[graph.input]
    with np.errstate(over="ignore"):
        units = np.ldexp(inputs, -exponent)
    allowed = (
        (units == np.rint(units))
        & (units >= low.reshape(shape))
        & (units <= high.reshape(shape))
    )
    if allowed.all():
        return None
    expected = "spikes, 0 or 1"
    if isinstance(graph.encoding, DirectEncoding):
        expected = f"multiples of 2^{exponent} that its encoding makes of 8-bit pixels"
    return (
        f"the certificate does not hold for these inputs: {(~allowed).sum():,} of"
        f" {inputs.size:,} values, such as {float(inputs[~allowed][0])!r}, are not"
        f" {expected}"
    )


@dataclass(frozen=True, eq=False)
class Placed:
    """A population in integers of one unit, its connections, and what does not fit.

    `model_violations` repeats those violations that the neuron model alone causes.
    """

    population: Population
    connections: tuple[Connection, ...]
    violations: tuple[str, ...]
    model_violations: tuple[str, ...]


def place_best(
    draft: Draft,
    steps: int,
    latency: Mapping[str, int],
    sources: Mapping[str, Interval],
) -> Placed:
    """`draft` in its derived unit, or in a finer one if T steps need it and it fits.

    A node whose decay truncates fixes the unit itself.
    """
    unit, chip_step = draft.unit(), draft.neurons.chip_step
    if chip_step is not None:
        return place_as_told(draft, chip_step + STATE_SHIFT, latency)
    placed = place(draft, unit, latency)
    for spare in range(spare_wanted(draft, unit, steps), 0, -1):
        finer = place(draft, unit - spare, latency)
        if not finer.violations and has_room(finer, steps, sources):
            return finer
    return placed


def place_as_told(draft: Draft, unit: int, latency: Mapping[str, int]) -> Placed:
    """`draft` in units of 2^unit volts, which the node's membrane_step fixes.

    Raises:
        GraphError: a weight, bias, threshold or reset is finer than that unit.
    """
    if draft.unit() < unit:
        raise GraphError(
            f"not on the grid: node {draft.name!r}: its membrane_step of"
            f" 2^{unit - STATE_SHIFT} V makes units of 2^{unit} V, but its weights,"
            f" bias or voltages are multiples of only 2^{draft.unit()} V;"
            " stars.grid.with_truncating_decay chooses a step that fits"
        )
    return place(draft, unit, latency)


def has_room(placed: Placed, steps: int, sources: Mapping[str, Interval]) -> bool:
    """Whether sums and membranes fit the chip's registers over `steps`."""
    population = placed.population
    low, high = accumulator_interval(population, placed.connections, sources)
    if wraps(currents_of(population, low, high, steps)):
        return False
    membranes = membranes_of(population, low, high, steps)
    return not any(clips(population, interval) for interval in membranes)


def spare_wanted(draft: Draft, unit: int, steps: int) -> int:
    """Bits by which the unit must be finer so that `steps` steps truncate nothing.

    Each of the T - 1 decays makes the last bit j bits finer; j is the larger shift of
    current and membrane. The chip keeps `STATE_SHIFT` bits below one unit. The result
    is at most `ACCUMULATOR_BITS`, with which no sum would fit.
    """
    increment, j = draft.increment_exponent(), draft.neurons.decay_shift
    if j is None or increment is None:
        return 0
    finest = max(j, draft.neurons.current_decay_shift)
    needed = finest * (steps - 1) - STATE_SHIFT - (increment - unit)
    return min(max(0, needed), ACCUMULATOR_BITS)


def place(draft: Draft, unit: int, latency: Mapping[str, int]) -> Placed:
    """`draft` in units of 2^unit volts."""
    neurons, violations = draft.neurons, list(draft.violations)
    connections = []
    for edge in draft.edges:
        delay = latency[draft.name] - latency[edge.source] - 1
        connection, wrong = connect(draft.name, edge, unit, delay)
        connections.append(connection)
        violations += wrong
    threshold = None
    if neurons.threshold is not None:
        threshold = int(neurons.threshold.at(unit).item())
        if bits(threshold) > THRESHOLD_BITS:
            violations.append(
                f"node {draft.name!r}: the threshold is {threshold} units of 2^{unit}"
                f" V, {bits(threshold)} bits, at most {THRESHOLD_BITS}"
            )
    bias = draft.bias.at(unit)
    exponent = bias_exponent(bias)
    if exponent is None:
        violations.append(
            f"node {draft.name!r}: the bias is up to {largest(bias)} units of 2^{unit}"
            f" V; at most {BIAS_LIMIT}, or {2 * BIAS_LIMIT} if all are even"
        )
    population = Population(
        name=draft.name,
        shape=draft.shape,
        spiking=neurons.spiking,
        exponent=unit,
        decay_shift=neurons.decay_shift,
        threshold=threshold,
        bias=bias,
        bias_exponent=STATE_SHIFT if exponent is None else exponent,
        latency=latency[draft.name],
        offset=neurons.offset,
        current_decay_shift=neurons.current_decay_shift,
    )
    return Placed(population, tuple(connections), tuple(violations), draft.violations)


def connect(
    target: str, edge: EdgeWeights, unit: int, delay: int
) -> tuple[Connection, list[str]]:
    """(The connection in units of 2^unit, its violations)."""
    weights = edge.weights
    largest_weight = largest(weights.mantissas)
    shift = weights.exponent - unit if largest_weight else 0
    absorbed = max(0, min(shift, bits(WEIGHT_LIMIT) - bits(largest_weight)))
    matrix = weights.mantissas.astype(np.int32)
    matrix.data <<= absorbed
    found = edge.convolution
    if found is not None:
        found = replace(found, kernel=found.kernel << absorbed)
    connection = Connection(edge.source, target, matrix, shift - absorbed, delay, found)
    where = f"connection {edge.source!r} -> {target!r} by way of {edge.way!r}"
    wrong = []
    if largest_weight > WEIGHT_LIMIT:
        wrong.append(
            f"{where}: composed weights reach {largest_weight}, {bits(largest_weight)}"
            f" bits and a sign, at most {WEIGHT_LIMIT}"
        )
    if connection.shift > SHIFT_LIMIT:
        wrong.append(
            f"{where}: needs a left shift of {connection.shift} to units of 2^{unit} V,"
            f" at most {SHIFT_LIMIT}; its weights are too coarse beside the other"
            " weights, the bias or the threshold of this population"
        )
    return connection, wrong


def bias_exponent(bias: Integers) -> int | None:
    """The chip's exponent for a bias in units; None if no 12-bit mantissa holds it.

    One unit is 2^6 membrane steps, so the mantissa is the bias at exponent 6 and half
    of it at 7. Exponents below 6 only make it larger.
    """
    for exponent in (STATE_SHIFT, BIAS_EXPONENTS[-1]):
        drop = exponent - STATE_SHIFT
        zeros = trailing_zeros(bias)
        divides = zeros is None or zeros >= drop
        if divides and largest(bias) >> drop <= BIAS_LIMIT:
            return exponent
    return None
