"""Count what a chip would do, exactly, and price it under a cost table.

A synaptic operation is one spike that meets one synapse: counted by fan-out, so that
borders, strides and zero weights are right, in integers. Pools and flattening are
composed into the next weights, as on the chip (the "routed" lowering): a spike is
routed to every synapse of the product. Whether an operation is an accumulate (AC) or a
multiply-accumulate (MAC) follows from where the connection starts, never from values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stars import reference
from stars.errors import DataError
from stars.graph import SpikingGraph
from stars.nodes import Array
from stars.trace import Trace
from targets.fan_out import Kind, ann_macs, fans
from targets.hardware.costs import CostTable
from targets.inputs import Inputs


@dataclass(frozen=True)
class ConnectionCount:
    """What one connection did.

    Args:
        source, target: the graph's input or a population; a population.
        kind: "MAC" from an 8-bit image, else "AC".
        synapses: weights that are not zero.
        events: values of the source that were not zero, over all steps and images.
        operations: events times the synapses of each.
        operations_held: of them, those of the first step: what a first layer needs
            that computes a held image once. For spikes, all.
    """

    source: str
    target: str
    kind: Kind
    synapses: int
    events: int
    operations: int
    operations_held: int


@dataclass(frozen=True)
class PopulationCount:
    """What one population did.

    Args:
        name: of the node.
        neurons: number of them.
        updates: neurons x steps x images.
        active: of them, those that spiked or left the membrane off its initial value;
            all where no membrane was recorded.
        spikes: over all steps and images.
        ann_macs: what the weights before it cost an ANN of the same topology, over
            all images: dense, zeros multiplied, padding not.
    """

    name: str
    neurons: int
    updates: int
    active: int
    spikes: int
    ann_macs: int


@dataclass(frozen=True)
class Counts:
    """Exact counts over `images` inputs of `steps` steps each."""

    images: int
    steps: int
    connections: tuple[ConnectionCount, ...]
    populations: tuple[PopulationCount, ...]

    def into(self, target: str) -> tuple[ConnectionCount, ...]:
        """The connections that feed a population."""
        return tuple(c for c in self.connections if c.target == target)

    def operations(self, kind: Kind, target: str | None = None) -> int:
        """Synaptic operations of a kind, into one population or into all."""
        into = self.connections if target is None else self.into(target)
        return sum(c.operations for c in into if c.kind == kind)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "lowering": "routed"}


@dataclass(frozen=True)
class LayerEnergy:
    """Joules of one population and of the connections into it, over all images."""

    name: str
    ac: float
    mac: float
    updates: float
    spikes: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.ac + self.mac + self.updates + self.spikes


@dataclass(frozen=True)
class EnergyEstimate:
    """Counts under one cost table.

    Args:
        table: the costs and their sources.
        images: inputs that the joules are for.
        layers: in execution order.
        ann: joules of an ANN of the same topology; None where the table has no price.
    """

    table: CostTable
    images: int
    layers: tuple[LayerEnergy, ...]
    ann: float | None

    @property
    def total(self) -> float:
        """Joules over all images."""
        return sum(layer.total for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the table's numbers and sources."""
        return {
            "table": asdict(self.table),
            "joules": self.total,
            "joules_per_image": self.total / self.images,
            "ann_joules_per_image": None
            if self.ann is None
            else self.ann / self.images,
            "layers": [{**asdict(n), "total": n.total} for n in self.layers],
        }


def count(graph: SpikingGraph, chunks: Iterable[tuple[Array, Trace]]) -> Counts:
    """The exact counts of a graph over chunks of (inputs [T, B, ...], their trace).

    Raises:
        DataError: no chunk, or a trace that is not of these inputs and this graph.
        LimitError: a composed connection does not fit in memory.
    """
    tally = Tally(graph)
    for inputs, trace in chunks:
        tally.add(inputs, trace)
    return tally.counts()


def simulated(
    graph: SpikingGraph,
    inputs: Inputs,
    progress: Callable[[int, int], None],
    *,
    chunk: int = 100,
) -> Iterator[tuple[Array, Trace]]:
    """(inputs, trace of the reference) of each chunk, one at a time in memory."""
    for start in range(0, len(inputs), chunk):
        stop = min(start + chunk, len(inputs))
        x = inputs.take(start, stop)
        yield x, reference.run(graph, x)
        progress(stop, len(inputs))


def estimate(counts: Counts, table: CostTable) -> EnergyEstimate:
    """Joules of each layer under one cost table."""
    layers = []
    for population in counts.populations:
        inactive = population.updates - population.active
        layers.append(
            LayerEnergy(
                name=population.name,
                ac=counts.operations("AC", population.name) * table.ac.joules,
                mac=counts.operations("MAC", population.name) * table.mac.joules,
                updates=population.active * table.update_active.joules
                + inactive * table.update_inactive.joules,
                spikes=population.spikes * table.spike.joules,
            )
        )
    ann = None
    if table.ann_mac is not None:
        ann = sum(p.ann_macs for p in counts.populations) * table.ann_mac.joules
    return EnergyEstimate(table, counts.images, tuple(layers), ann)


class Tally:
    """Counts in the making."""

    def __init__(self, graph: SpikingGraph) -> None:
        self.graph = graph
        self.fans = fans(graph)
        self.ann = ann_macs(graph)
        self.images = 0
        self.events = dict.fromkeys(self.fans, 0)
        self.operations = dict.fromkeys(self.fans, 0)
        self.first = dict.fromkeys(self.fans, 0)
        self.active = dict.fromkeys(graph.neurons, 0)
        self.spikes = dict.fromkeys(graph.neurons, 0)

    def add(self, inputs: Array, trace: Trace) -> None:
        """Count one chunk.

        Raises:
            DataError: the trace is not of these inputs and this graph.
        """
        check_chunk(self.graph, inputs, trace)
        self.images += trace.batch
        for key, fan in self.fans.items():
            values = (
                inputs if fan.source == self.graph.input else trace.spikes[fan.source]
            )
            lit = np.count_nonzero(values.reshape(*values.shape[:2], -1), axis=1)
            per_step = lit.astype(np.int64) @ fan.out
            self.events[key] += int(lit.sum())
            self.operations[key] += int(per_step.sum())
            self.first[key] += int(per_step[0] if fan.kind == "MAC" else per_step.sum())
        for name in self.graph.neurons:
            self.active[name] += active_updates(self.graph, name, trace)
            if name in trace.spikes:
                self.spikes[name] += int(np.count_nonzero(trace.spikes[name]))

    def counts(self) -> Counts:
        """What was counted so far.

        Raises:
            DataError: nothing was.
        """
        if self.images < 1:
            raise DataError("nothing was counted: there is no image")
        each = self.images * self.graph.steps
        connections = (
            ConnectionCount(
                source=fan.source,
                target=fan.target,
                kind=fan.kind,
                synapses=int(fan.out.sum()),
                events=self.events[key],
                operations=self.operations[key],
                operations_held=self.first[key],
            )
            for key, fan in self.fans.items()
        )
        sizes = {n: math.prod(self.graph.shapes[n]) for n in self.graph.neurons}
        populations = (
            PopulationCount(
                name=name,
                neurons=size,
                updates=size * each,
                active=self.active[name],
                spikes=self.spikes[name],
                ann_macs=self.ann[name] * self.images,
            )
            for name, size in sizes.items()
        )
        return Counts(
            self.images, self.graph.steps, tuple(connections), tuple(populations)
        )


def check_chunk(graph: SpikingGraph, inputs: Array, trace: Trace) -> None:
    """Refuse a trace that is not of these inputs and this graph.

    Raises:
        DataError: with the shapes.
    """
    shape = (graph.steps, trace.batch)
    if inputs.shape != (*shape, *graph.shapes[graph.input]):
        raise DataError(f"inputs have shape {inputs.shape}, the trace {shape}")
    found = {name: spikes.shape for name, spikes in trace.spikes.items()}
    expected = {name: (*shape, *graph.shapes[name]) for name in graph.spiking}
    if found != expected:
        raise DataError(f"the trace's spikes have shapes {found}, expected {expected}")


def active_updates(graph: SpikingGraph, name: str, trace: Trace) -> int:
    """Updates that spiked or left the membrane off its initial value.

    Source: ours; Davies et al. 2018 price active and inactive updates and do not say
    which are which.
    """
    size = trace.steps * trace.batch * math.prod(graph.shapes[name])
    if name not in trace.membranes:
        return size
    node = graph.neuron(name)
    moved = trace.membranes[name] != node.membrane(node.initial(1))[0]
    if name in trace.spikes:
        moved = moved | trace.spikes[name]
    return int(np.count_nonzero(moved))
