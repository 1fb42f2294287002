"""fit(graph, limits) -> FitReport: does a network fit a chip, and how many it takes.

Everything is counted on the integer plan: populations as they would be configured, and
connections with pools and flattening composed into them. Placement and the counting of
axons and memory are told in `targets.chip.placement`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from stars.errors import LimitError
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.exact import bits, largest
from stars.grid.intervals import spike_interval
from stars.grid.lowering import Placed, input_interval, place_all
from stars.grid.plan import STATE_SHIFT, accumulator_interval, currents_of
from targets.chip.placement import (
    Core,
    Excess,
    Layer,
    cores_fed,
    cores_with_shared_kernels,
    place_layers,
)
from targets.hardware.limits import LIMITS, ChipLimits


@dataclass(frozen=True)
class Violation:
    """One thing that does not fit.

    Args:
        node: where.
        limit: a name of `targets.hardware.limits.LIMITS`, or "neuron model".
        value, allowed: found and at most; None for the neuron model.
        source: of the limit.
        text: all of it, for people.
    """

    node: str
    limit: str
    value: int | None
    allowed: int | None
    source: str
    text: str


@dataclass(frozen=True)
class LayerFit:
    """What one population needs.

    Args:
        node: its name.
        neurons: how many.
        synapses: of all its neurons, each stored.
        synapses_shared: a convolution's kernels once; else the same.
        fan_in: most sources of one neuron.
        fan_out: most cores that one neuron feeds.
        cores: with each synapse stored.
        cores_shared: least number with shared kernels.
        synapse_bits: memory for synapses in all its cores.
        needs: by name of a limit, what the configuration needs: bits, exponents, delay.
    """

    node: str
    neurons: int
    synapses: int
    synapses_shared: int
    fan_in: int
    fan_out: int
    cores: int
    cores_shared: int
    synapse_bits: int
    needs: dict[str, int]


@dataclass(frozen=True)
class FitReport:
    """Whether a network fits, and what it takes.

    Args:
        limits: of which chip.
        layers: one row a population, in execution order.
        placement: every core, in the same order.
        violations: all of them.
    """

    limits: ChipLimits
    layers: tuple[LayerFit, ...]
    placement: tuple[Core, ...]
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is exceeded."""
        return not self.violations

    @property
    def cores(self) -> int:
        """With each synapse stored."""
        return len(self.placement)

    @property
    def cores_shared(self) -> int:
        """At least, with shared kernels."""
        return sum(layer.cores_shared for layer in self.layers)

    def chips(self, cores: int) -> int:
        """How many chips have so many cores."""
        return -(-cores // self.limits.limits["cores_per_chip"].value)

    def require(self) -> None:
        """Do nothing if it fits.

        Raises:
            LimitError: it does not; with every violation.
        """
        if self.violations:
            raise LimitError(self.limits.title, [v.text for v in self.violations])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ok": self.ok,
            "chip": self.limits.name,
            "title": self.limits.title,
            "about": self.limits.about,
            "limits": {n: asdict(limit) for n, limit in self.limits.limits.items()},
            "unchecked": list(self.limits.unchecked),
            "neurons": sum(layer.neurons for layer in self.layers),
            "synapses": sum(layer.synapses for layer in self.layers),
            "cores": self.cores,
            "chips": self.chips(self.cores),
            "cores_shared": self.cores_shared,
            "chips_shared": self.chips(self.cores_shared),
            "layers": [asdict(layer) for layer in self.layers],
            "placement": [
                {"chip": self.chips(i + 1) - 1, "core": i, **asdict(core)}
                for i, core in enumerate(self.placement)
            ],
            "violations": [asdict(violation) for violation in self.violations],
        }


def fit(graph: SpikingGraph, limits: ChipLimits) -> FitReport:
    """What `graph` takes on a chip, and all that does not fit.

    Raises:
        GraphError: the graph is off the grid.
        LimitError: a product is too large to be unrolled.
        UnsupportedNodeError: a node that has no integer form.
    """
    placed = place_all(graph)
    layers = [layer_of(p) for p in placed]
    cores, excess = place_layers(layers, limits)
    rows = tuple(
        layer_fit(graph, one, layer, layers, cores, limits)
        for one, layer in zip(placed, layers, strict=True)
    )
    found: list[Violation] = check_input(graph, limits)
    for one, row in zip(placed, rows, strict=True):
        found += [
            Violation(
                row.node, "neuron model", None, None, "stars.grid.integer_neurons", text
            )
            for text in one.model_violations
        ]
        found += check_needs(row, limits)
        found += [too_much(row.node, e, limits) for e in excess[row.node]]
    return FitReport(limits, rows, cores, tuple(found))


def layer_of(placed: Placed) -> Layer:
    """The number of synapses between each pair of neurons, by source."""
    synapses: dict[str, csr_array] = {}
    for c in placed.connections:
        pattern = csr_array((c.weights != 0).astype(np.int64))
        known = synapses.get(c.source)
        synapses[c.source] = pattern if known is None else csr_array(known + pattern)
    return Layer(
        placed.population.name,
        math.prod(placed.population.shape),
        synapses,
        max((c.delay for c in placed.connections), default=0),
    )


def layer_fit(
    graph: SpikingGraph,
    placed: Placed,
    layer: Layer,
    layers: Sequence[Layer],
    cores: Sequence[Core],
    limits: ChipLimits,
) -> LayerFit:
    """One row of the report."""
    own = [core for core in cores if core.node == layer.node]
    each = sum(np.asarray(m.sum(axis=1)) for m in layer.synapses.values())
    sources = sum(np.diff(m.indptr) for m in layer.synapses.values())
    total = int(np.sum(each))
    shared, cores_shared = total, len(own)
    if all(c.convolution is not None for c in placed.connections):
        channels, kernel = placed.population.shape[0], int(np.max(each))
        shared = channels * kernel
        cores_shared = cores_with_shared_kernels(
            layer.size, channels, kernel, layer.delay, limits
        )
    return LayerFit(
        node=layer.node,
        neurons=layer.size,
        synapses=total,
        synapses_shared=shared,
        fan_in=int(np.max(sources)),
        fan_out=most_cores_fed(layer, layers, cores),
        cores=len(own),
        cores_shared=min(cores_shared, len(own)),
        synapse_bits=sum(core.synapse_bits for core in own),
        needs=needs_of(placed, graph),
    )


def most_cores_fed(layer: Layer, layers: Sequence[Layer], cores: Sequence[Core]) -> int:
    """The largest number of cores that one neuron of `layer` feeds."""
    placed: dict[str, list[Core]] = {one.node: [] for one in layers}
    for core in cores:
        placed[core.node].append(core)
    return int(cores_fed(layer, layers, placed).max(initial=0))


def needs_of(placed: Placed, graph: SpikingGraph) -> dict[str, int]:
    """What the registers of one population and its connections have to hold."""
    population, connections = placed.population, placed.connections
    low, high, _ = input_interval(graph)
    sources = {n: spike_interval(math.prod(graph.shapes[n])) for n in graph.neurons}
    below, above = accumulator_interval(
        population, connections, {**sources, graph.input: (low, high)}
    )
    currents = currents_of(population, below, above, graph.steps)
    reach = max(math.ceil(max(-least, most)) for least, most in currents)
    mantissa = largest(population.bias) << STATE_SHIFT >> population.bias_exponent
    return {
        # Weights are sent as 2 w, with an exponent one smaller.
        "weight_bits": max(bits(2 * largest(c.weights)) for c in connections) + 1,
        "weight_exponent": max(c.shift - 1 for c in connections),
        "delay": max(c.delay for c in connections),
        "threshold_bits": bits(population.threshold or 0),
        "bias_bits": bits(mantissa) + 1,
        "bias_exponent": population.bias_exponent,
        "accumulator_bits": bits(reach << STATE_SHIFT) + 1,
    }


def check_needs(row: LayerFit, limits: ChipLimits) -> list[Violation]:
    """The registers of one population that are too narrow."""
    return [
        violation(row.node, name, value, limits)
        for name, value in row.needs.items()
        if name in limits.limits and value > limits.limits[name].value
    ]


def check_input(graph: SpikingGraph, limits: ChipLimits) -> list[Violation]:
    """An input whose values a message cannot carry."""
    low, high, _ = input_interval(graph)
    reach = bits(max(-int(low.min(initial=0)), int(high.max(initial=0))))
    value = reach + bool(low.min(initial=0) < 0)
    allowed = limits.value("input_bits")
    if allowed is None or value <= allowed:
        return []
    return [violation(graph.input, "input_bits", value, limits)]


def too_much(node: str, excess: Excess, limits: ChipLimits) -> Violation:
    """A neuron that needs more than a whole core."""
    found = violation(node, excess.limit, excess.value, limits)
    text = f"{found.text} ({excess.neurons} neuron(s) exceed it, each alone in a core)"
    return Violation(**{**asdict(found), "text": text})


def violation(node: str, name: str, value: int, limits: ChipLimits) -> Violation:
    """`value` above the limit of this name."""
    limit = limits.limits[name]
    source = " ".join(limit.source.split())
    text = (
        f"node {node!r}: {name} is {value}, at most {limit.value}: {LIMITS[name]}"
        f" [{source}]"
    )
    return Violation(node, name, value, limit.value, source, text)
