"""fit(graph, limits) -> FitReport: whether a network fits a chip, and its cores.

Everything is counted on the integer plan, in which pools and flattening are part of the
connections. `targets.chip.placement` places neurons and counts axons and memory.
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
    """A number that exceeds a limit, or a neuron that the chip cannot model.

    Args:
        node: name of the node.
        limit: a name of `targets.hardware.limits.LIMITS`, or "neuron model".
        value, allowed: the value found and the largest allowed; None for the neuron
            model.
        source: of the limit.
        text: the complete message.
    """

    node: str
    limit: str
    value: int | None
    allowed: int | None
    source: str
    text: str


@dataclass(frozen=True)
class LayerFit:
    """The resources of one population.

    Args:
        node: its name.
        neurons: number of neurons.
        synapses: of all its neurons, each stored.
        synapses_shared: with a convolution's kernels stored once; else the same.
        fan_in: largest number of sources of one neuron.
        fan_out: largest number of cores that one neuron feeds.
        cores: number of cores with each synapse stored.
        cores_shared: least number of cores with shared kernels.
        synapse_bits: synapse memory in all its cores.
        needs: by name of a limit, the value needed: bits, exponents, delay.
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


class Fit:
    """Whether a network keeps the limits of a chip; a base of the reports.

    Args:
        limits: of the chip.
        violations: every limit that is exceeded.
    """

    limits: ChipLimits
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no violations."""
        return not self.violations

    @property
    def verdict(self) -> str:
        """Whether a limit is exceeded."""
        if self.ok:
            return "it fits"
        return f"{len(self.violations)} limit(s) exceeded"

    def require(self) -> None:
        """Raise unless the network fits.

        Raises:
            LimitError: holds every violation.
        """
        if self.violations:
            raise LimitError(self.limits.title, [v.text for v in self.violations])


@dataclass(frozen=True)
class FitReport(Fit):
    """Whether a network fits a chip, and the resources it uses.

    Args:
        limits: of the chip.
        layers: one row per population, in execution order.
        placement: every core, in the same order.
        violations: every violation.
    """

    limits: ChipLimits
    layers: tuple[LayerFit, ...]
    placement: tuple[Core, ...]
    violations: tuple[Violation, ...]

    @property
    def cores(self) -> int:
        """Number of cores with each synapse stored."""
        return len(self.placement)

    @property
    def cores_shared(self) -> int:
        """Least number of cores with shared kernels."""
        return sum(layer.cores_shared for layer in self.layers)

    def chips(self, cores: int) -> int:
        """The number of chips that have `cores` cores."""
        return -(-cores // self.limits.limits["cores_per_chip"].value)

    @property
    def verdict(self) -> str:
        """Whether a limit is exceeded, and the chips that the network needs."""
        needs = " or ".join(
            f"{how} {counted(self.chips(cores), 'chip')} ({counted(cores, 'core')})"
            for how, cores in (
                ("with every synapse stored", self.cores),
                ("with shared kernels at least", self.cores_shared),
            )
        )
        return f"{super().verdict}; it needs {needs}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "ok": self.ok,
            "verdict": self.verdict,
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


def counted(number: int, what: str) -> str:
    """A number of things, as text."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def fit(graph: SpikingGraph, limits: ChipLimits) -> FitReport:
    """The resources that `graph` uses on a chip, and every violation.

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
    """The register sizes that one population and its connections need."""
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
    """Violations of one population's register sizes."""
    return [
        violation(row.node, name, value, limits)
        for name, value in row.needs.items()
        if name in limits.limits and value > limits.limits[name].value
    ]


def check_input(graph: SpikingGraph, limits: ChipLimits) -> list[Violation]:
    """A violation if a message is too narrow for the input's values."""
    low, high, _ = input_interval(graph)
    reach = bits(max(-int(low.min(initial=0)), int(high.max(initial=0))))
    value = reach + bool(low.min(initial=0) < 0)
    allowed = limits.value("input_bits")
    if allowed is None or value <= allowed:
        return []
    return [violation(graph.input, "input_bits", value, limits)]


def too_much(node: str, excess: Excess, limits: ChipLimits) -> Violation:
    """The violation of neurons that exceed a whole core."""
    found = violation(node, excess.limit, excess.value, limits)
    text = f"{found.text} ({excess.neurons} neuron(s) exceed it even alone in a core)"
    return Violation(**{**asdict(found), "text": text})


def violation(node: str, name: str, value: int, limits: ChipLimits) -> Violation:
    """The violation of a value above the limit of this name."""
    limit = limits.limits[name]
    source = " ".join(limit.source.split())
    text = (
        f"node {node!r}: {name} is {value}, at most {limit.value}: {LIMITS[name]}"
        f" [{source}]"
    )
    return Violation(node, name, value, limit.value, source, text)
