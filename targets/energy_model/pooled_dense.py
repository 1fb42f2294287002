"""Counts under the lowering "pooled-dense": pools and maps are separate stages.

A chip without fused pools first adds up each window, then multiplies the sum. Weights
that read spikes cost accumulates. Weights that read a pool cost multiply-accumulates,
because its values are numbers. The output of weights is dense, so a pool that reads it
adds up every value.
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
    """The origin of a value; a sum has the largest origin of its terms."""

    SPIKE = 0
    NUMBER = 1  # a pixel, or a pool of spikes
    CURRENT = 2  # the output of weights


@dataclass(frozen=True)
class StageCount:
    """The operations of one map, or of edges that enter a population without weights.

    Args:
        node: the map or the population.
        target: the population that it feeds.
        kind: of its operations.
        events: input values that cost operations, over all steps and images.
        operations: additions, or multiply-accumulates.
    """

    node: str
    target: str
    kind: Kind
    events: int
    operations: int


@dataclass(frozen=True, eq=False)
class Stage:
    """A map or a population, with the operations that each input value costs.

    Args:
        node, target, kind: see `StageCount`.
        sources: the nodes whose values add up to the input.
        entering: the input's origin.
        out: operations per input value, int64 [N].
    """

    node: str
    target: str
    kind: Kind
    sources: tuple[str, ...]
    entering: Value
    out: NDArray[np.int64]


def has_pools(graph: SpikingGraph) -> bool:
    """Whether the graph has pools; without them both lowerings are equal."""
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
    """The origin of each node's values."""
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
    """The origin of a sum of values; two spikes add up to a number."""
    least = Value.NUMBER if len(before) > 1 else Value.SPIKE
    return max(least, *(kinds[name] for name in before))


def kind_of(node: Map, entering: Value) -> Kind:
    """AC for pools, which only add, and for spikes; else MAC."""
    adds = isinstance(node, SumPool2d) or entering == Value.SPIKE
    return "AC" if adds else "MAC"


def count_stages(
    graph: SpikingGraph, found: tuple[Stage, ...], inputs: Array, trace: Trace
) -> list[StageCount]:
    """The counts of each stage on inputs [T, B, ...] and their trace."""
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
    """The values, [T B, ...], of all nodes that no weights precede."""
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
