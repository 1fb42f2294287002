"""Count a chip's operations exactly, in integers.

A synaptic operation is one spike at one synapse. Operations are counted by fan-out, so
borders, strides and zero weights are exact. In the lowering "routed", as on the chip,
pools and flattening are merged into the next weights, and a spike goes to every synapse
of the product. `targets.energy_model.pooled_dense` counts the lowering "pooled-dense".
The source of a connection decides whether its operations are accumulates (AC) or
multiply-accumulates (MAC); values never do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field, computed_field

from stars.errors import DataError, GraphError
from stars.graph import reference
from stars.graph.nodes import Affine, Array, Conv2d
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.exact import dyadic, largest
from stars.grid.unrolling import check_on_grid
from targets.energy_model.pooled_dense import (
    StageCount,
    count_stages,
    has_pools,
    stages,
)
from targets.energy_model.synapses import AnnLayer, Kind, ann_layers, fans
from targets.inputs import Inputs
from targets.record import Record

FLOAT_BYTES = 4
STATE_BYTES, BIAS_BYTES = 3, 2  # on the grid: 24-bit registers; 12 bits and a sign


@dataclass(frozen=True)
class ConnectionCount:
    """The operations of one connection.

    Args:
        source, target: the graph's input or a population; a population.
        kind: "MAC" from an 8-bit image, else "AC".
        synapses: nonzero weights.
        events: nonzero values of the source, over all steps and images.
        operations: the sum of each event's synapses.
        operations_held: for an image, the operations of the first step, enough if a
            first layer computes a constant image once; for spikes, all operations.
        source_size: number of values of the source.
        convolution: whether the connection includes a convolution or a pool.
    """

    source: str
    target: str
    kind: Kind
    synapses: int
    events: int
    operations: int
    operations_held: int
    source_size: int = 0
    convolution: bool = False


@dataclass(frozen=True)
class PopulationCount:
    """The operations of one population, and the memory that it needs.

    Args:
        name: of the node.
        neurons: number of neurons.
        updates: neurons x steps x images.
        active: updates that spiked or left the membrane off its initial value; all if
            no membrane was recorded.
        spikes: over all steps and images.
        ann_macs: multiplications of the weights before it in an ANN of the same
            topology, over all images, zeros included, padding not.
        weights, biases: stored numbers before it; a kernel is stored once.
        weight_bytes: their size: on the grid 1 byte per weight (2 or 4 if 8 bits are
            too few) and 2 per bias; else 4 each.
        state_bytes: size of the membranes: 3 bytes per neuron on the grid, else 4.
    """

    name: str
    neurons: int
    updates: int
    active: int
    spikes: int
    ann_macs: int
    weights: int = 0
    biases: int = 0
    weight_bytes: int = 0
    state_bytes: int = 0


class Counts(Record):
    """Exact counts over `images` inputs of `steps` steps each.

    Counts of connections and populations that a file of version 0.1 lacks are 0.

    Args:
        images, steps: number of inputs; steps per input.
        connections, populations: under the lowering "routed", in execution order.
        pooled_dense: stages under that lowering; None without a pool, because both
            lowerings are then equal.
        ann: layers of an ANN of the same topology.
    """

    images: int = Field(ge=1)
    steps: int
    connections: tuple[ConnectionCount, ...]
    populations: tuple[PopulationCount, ...]
    pooled_dense: tuple[StageCount, ...] | None = None
    ann: tuple[AnnLayer, ...] = ()
    lowering: Literal["routed"] = "routed"

    def into(self, target: str) -> tuple[ConnectionCount, ...]:
        """The connections that feed a population."""
        return tuple(c for c in self.connections if c.target == target)

    def operations(self, kind: Kind, target: str | None = None) -> int:
        """Synaptic operations of a kind, into one population or, by default, all."""
        into = self.connections if target is None else self.into(target)
        return sum(c.operations for c in into if c.kind == kind)

    @property
    def spikes(self) -> int:
        """Spikes of all populations."""
        return sum(population.spikes for population in self.populations)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spike_rate(self) -> float:
        """Mean spikes per step of every sender of spikes, the input included."""
        senders = {
            c.source: (c.events, c.source_size)
            for c in self.connections
            if c.kind == "AC"
        }
        size = sum(n for _, n in senders.values()) * self.steps * self.images
        return sum(events for events, _ in senders.values()) / size if size else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spikes_per_synapse(self) -> float:
        """Mean operations per image of a synapse that spikes reach."""
        synapses = sum(c.synapses for c in self.connections if c.kind == "AC")
        return self.operations("AC") / (synapses * self.images) if synapses else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def operations_per_image(self) -> dict[str, float]:
        """Mean operations per image, by their name in reports."""
        sums = {
            "spike accumulates": self.operations("AC"),
            "image multiply-accumulates": self.operations("MAC"),
            "neuron updates": sum(p.updates for p in self.populations),
            "spikes": self.spikes,
            "multiply-accumulates of an ANN of the same topology": sum(
                p.ann_macs for p in self.populations
            ),
        }
        return {name: value / self.images for name, value in sums.items()}


def count(graph: SpikingGraph, chunks: Iterable[tuple[Array, Trace]]) -> Counts:
    """The exact counts of a graph over chunks of (inputs [T, B, ...], their trace).

    Raises:
        DataError: there is no chunk, or a trace does not fit its inputs and the graph.
        LimitError: a composed connection does not fit in memory.
    """
    tally = OperationTally(graph)
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
    """(inputs, the reference's trace) of each chunk, one chunk at a time."""
    for start in range(0, len(inputs), chunk):
        stop = min(start + chunk, len(inputs))
        x = inputs.take(start, stop)
        yield x, reference.run(graph, x)
        progress(stop, len(inputs))


class OperationTally:
    """Sums up the counts of all chunks."""

    def __init__(self, graph: SpikingGraph) -> None:
        self.graph = graph
        self.fans = fans(graph)
        self.ann = ann_layers(graph)
        self.stages = stages(graph) if has_pools(graph) else None
        self.images = 0
        self.events = dict.fromkeys(self.fans, 0)
        self.operations = dict.fromkeys(self.fans, 0)
        self.first = dict.fromkeys(self.fans, 0)
        self.active = dict.fromkeys(graph.neurons, 0)
        self.spikes = dict.fromkeys(graph.neurons, 0)
        self.staged: list[list[StageCount]] = []

    def add(self, inputs: Array, trace: Trace) -> None:
        """Add the counts of one chunk.

        Raises:
            DataError: the trace does not fit the inputs and the graph.
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
        if self.stages is not None:
            self.staged.append(count_stages(self.graph, self.stages, inputs, trace))

    def counts(self) -> Counts:
        """The counts so far.

        Raises:
            DataError: there was no image.
        """
        if self.images < 1:
            raise DataError("nothing was counted: there is no image; give 1 or more")
        connections = (
            ConnectionCount(
                source=fan.source,
                target=fan.target,
                kind=fan.kind,
                synapses=int(fan.out.sum()),
                events=self.events[key],
                operations=self.operations[key],
                operations_held=self.first[key],
                source_size=len(fan.out),
                convolution=fan.convolution,
            )
            for key, fan in self.fans.items()
        )
        return Counts(
            images=self.images,
            steps=self.graph.steps,
            connections=tuple(connections),
            populations=tuple(self._population(name) for name in self.graph.neurons),
            pooled_dense=None
            if self.stages is None
            else tuple(added(rows) for rows in zip(*self.staged, strict=True)),
            ann=tuple(layer for layers in self.ann.values() for layer in layers),
        )

    def _population(self, name: str) -> PopulationCount:
        size = math.prod(self.graph.shapes[name])
        layers = self.ann[name]
        on_grid = is_on_grid(self.graph)
        return PopulationCount(
            name=name,
            neurons=size,
            updates=size * self.images * self.graph.steps,
            active=self.active[name],
            spikes=self.spikes[name],
            ann_macs=sum(layer.macs for layer in layers) * self.images,
            weights=sum(layer.weights for layer in layers),
            biases=sum(layer.biases for layer in layers),
            weight_bytes=sum(
                layer.weights * bytes_of_weight(self.graph, layer.name, on_grid=on_grid)
                + layer.biases * (BIAS_BYTES if on_grid else FLOAT_BYTES)
                for layer in layers
            ),
            state_bytes=size * (STATE_BYTES if on_grid else FLOAT_BYTES),
        )


def added(rows: tuple[StageCount, ...]) -> StageCount:
    """The sum of one stage over all chunks."""
    events, operations = (
        sum(getattr(row, name) for row in rows) for name in ("events", "operations")
    )
    return replace(rows[0], events=events, operations=operations)


def is_on_grid(graph: SpikingGraph) -> bool:
    """Whether every weight is an integer times a power of two."""
    try:
        check_on_grid(graph)
    except GraphError:
        return False
    return True


def bytes_of_weight(graph: SpikingGraph, name: str, *, on_grid: bool) -> int:
    """Bytes per weight of a node."""
    node = graph.nodes[name]
    if not on_grid or not isinstance(node, Affine | Conv2d):
        return FLOAT_BYTES
    size = largest(dyadic(node.weight, "weight").mantissas)
    return next(n for n in (1, 2, FLOAT_BYTES) if size < 2 ** (8 * n - 1))


def check_chunk(graph: SpikingGraph, inputs: Array, trace: Trace) -> None:
    """Check that a trace fits its inputs and the graph.

    Raises:
        DataError: it does not; the message gives the shapes.
    """
    shape = (graph.steps, trace.batch)
    if inputs.shape != (*shape, *graph.shapes[graph.input]):
        raise DataError(f"inputs have shape {inputs.shape}, the trace {shape}")
    found = {name: spikes.shape for name, spikes in trace.spikes.items()}
    expected = {name: (*shape, *graph.shapes[name]) for name in graph.spiking}
    if found != expected:
        raise DataError(f"the trace's spikes have shapes {found}, expected {expected}")


def active_updates(graph: SpikingGraph, name: str, trace: Trace) -> int:
    """The number of updates that spiked or left the membrane off its initial value.

    Source: our definition; Davies et al. 2018 price active and inactive updates but do
    not define them.
    """
    size = trace.steps * trace.batch * math.prod(graph.shapes[name])
    if name not in trace.membranes:
        return size
    node = graph.neuron(name)
    moved = trace.membranes[name] != node.membrane(node.initial(1))[0]
    if name in trace.spikes:
        moved = moved | trace.spikes[name]
    return int(np.count_nonzero(moved))
