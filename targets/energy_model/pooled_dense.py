"""Counts under the lowering "pooled-dense": pools and maps are stages of their own.

A chip without fused pools adds up each window first and multiplies what comes out. A
spike that reaches weights costs accumulates; a pool's value is a number, so that its
weights cost multiply-accumulates, whatever the number is; what comes out of weights is
dense, so that a pool behind it adds up every value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stars.graph.nodes import Array, Flatten, Input, Map, Neuron, Output, SumPool2d
from stars.graph.reference import sum_of
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.unrolling import unroll
from targets.energy_model.synapses import (
    Kind,
    column_counts,
    composable,
    population_after,
)


class Value(IntEnum):
    """Where a value comes from; the larger one wins where values add."""

    SPIKE = 0
    NUMBER = 1  # a pixel, or what a pool makes of spikes
    CURRENT = 2  # what comes out of weights


@dataclass(frozen=True)
class StageCount:
    """What one map did, or the edges into a population that pass no map with weights.

    Args:
        node: the map; or the population.
        target: the population that it feeds.
        kind: of its operations.
        events: values that entered and cost something, over all steps and images.
        operations: additions, or multiply-accumulates.
    """

    node: str
    target: str
    kind: Kind
    events: int
    operations: int


@dataclass(frozen=True, eq=False)
class Stage:
    """A map or a population, and how many operations each value that enters it costs.

    Args:
        node, target, kind: see `StageCount`.
        sources: whose values add up to what enters.
        entering: where that comes from.
        out: operations of each value, int64 [N].
    """

    node: str
    target: str
    kind: Kind
    sources: tuple[str, ...]
    entering: Value
    out: NDArray[np.int64]


def has_pools(graph: SpikingGraph) -> bool:
    """Whether the two lowerings differ at all."""
    return any(isinstance(node, SumPool2d) for node in graph.nodes.values())


def stages(graph: SpikingGraph) -> tuple[Stage, ...]:
    """Every stage, in execution order."""
    kinds = provenance(graph)
    nodes = composable(graph).nodes
    found = []
    for name in graph.order:
        node = graph.nodes[name]
        before = graph.predecessors(name)
        if isinstance(node, Map) and not isinstance(node, Flatten):
            entering = arriving(kinds, before)
            shape = graph.shapes[before[0]]
            matrix, _ = unroll(nodes[name], shape)  # type: ignore[arg-type]
            found.append(
                Stage(
                    name,
                    population_after(graph, name),
                    kind_of(node, entering),
                    before,
                    entering,
                    column_counts(matrix.mantissas),
                )
            )
        elif isinstance(node, Neuron):
            size = math.prod(graph.shapes[name])
            found += [
                Stage(
                    name, name, "AC", (source,), kinds[source], np.ones(size, np.int64)
                )
                for source in before
                if kinds[source] != Value.CURRENT
            ]
    return tuple(found)


def provenance(graph: SpikingGraph) -> dict[str, Value]:
    """Where each node's value comes from."""
    kinds: dict[str, Value] = {}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Input):
            image = graph.encoding is not None
            kinds[name] = Value.NUMBER if image else Value.SPIKE
        elif isinstance(node, Neuron):
            kinds[name] = Value.SPIKE if node.spiking else Value.CURRENT
        elif isinstance(node, Flatten | Output):
            kinds[name] = arriving(kinds, graph.predecessors(name))
        elif isinstance(node, SumPool2d):
            kinds[name] = max(Value.NUMBER, arriving(kinds, graph.predecessors(name)))
        else:
            kinds[name] = Value.CURRENT
    return kinds


def arriving(kinds: Mapping[str, Value], before: tuple[str, ...]) -> Value:
    """Where the sum of some values comes from: two spikes add up to a number."""
    least = Value.NUMBER if len(before) > 1 else Value.SPIKE
    return max(least, *(kinds[name] for name in before))


def kind_of(node: Map, entering: Value) -> Kind:
    """AC for a pool, which only adds, and for spikes; else MAC."""
    adds = isinstance(node, SumPool2d) or entering == Value.SPIKE
    return "AC" if adds else "MAC"


def count_stages(
    graph: SpikingGraph, found: tuple[Stage, ...], inputs: Array, trace: Trace
) -> list[StageCount]:
    """What each stage did on inputs [T, B, ...] whose trace this is."""
    values = numbers(graph, inputs, trace)
    counts = []
    for stage in found:
        if stage.entering == Value.CURRENT:
            each = trace.steps * trace.batch
            lit = np.full(len(stage.out), each, np.int64)
        else:
            flat = sum_of(values, stage.sources).reshape(-1, len(stage.out))
            lit = np.count_nonzero(flat, axis=0).astype(np.int64)
        counts.append(
            StageCount(
                stage.node,
                stage.target,
                stage.kind,
                int(lit.sum()),
                int(lit @ stage.out),
            )
        )
    return counts


def numbers(graph: SpikingGraph, inputs: Array, trace: Trace) -> dict[str, Array]:
    """The values, [T B, ...], of all nodes that have passed no weights."""
    kinds = provenance(graph)
    values = {graph.input: inputs.reshape(-1, *inputs.shape[2:])}
    for name in graph.order:
        node = graph.nodes[name]
        if name in trace.spikes:
            spikes = trace.spikes[name]
            values[name] = spikes.reshape(-1, *spikes.shape[2:]).astype(np.float64)
        elif isinstance(node, Map) and kinds[name] != Value.CURRENT:
            values[name] = node.apply(sum_of(values, graph.predecessors(name)))
    return values
