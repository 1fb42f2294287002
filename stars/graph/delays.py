"""The edges of a cyclic graph that deliver one step late, found by a fixed rule.

Within a step, values flow from node to node without delay. A cycle must therefore use a
value of the previous step somewhere. The place depends on nodes and edges alone, never
on the order in which a file lists them:

1. A `Delay` that is in a cycle and delays every value by a step or more cuts that
   cycle. The edges into it deliver one step late, and it delays by one step less.
   Together that is the delay it states.
2. In the remaining cycles, an edge that leaves a neuron is delayed if it leads, through
   maps, to a neuron of the same cycle that is no deeper than the one it leaves. The
   depth of a neuron is the least number of neurons on a path from the input to it,
   itself included.

So a population that feeds itself through weights sends its spikes of step t - 1 into
those weights at step t; at t = 0 the weights receive zeros and give their bias. Two
populations side by side each see the other's previous step. Feedback from a deeper
population is late, and the forward path is not.

Source: snnTorch's RLeaky and RSynaptic and Norse's recurrent cells use the spikes of
the previous step too, with zeros before the first.
Differs: nirtorch's executor delays after the weights instead of before them, so its
first step lacks the recurrent bias.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from stars.graph.nodes import Delay, Input, Neuron, Node

Edge = tuple[str, str]


def delayed_edges(
    nodes: Mapping[str, Node], edges: Collection[Edge]
) -> frozenset[Edge]:
    """The edges that deliver the value of the previous step; empty without a cycle.

    In a cycle of maps alone no edge is delayed, because no node there holds a value.
    """
    on_cycles = edges_inside(nodes, edges)
    into_delays = frozenset(
        (a, b) for a, b in edges if closed_by_delay(nodes, on_cycles, b)
    )
    rest = [edge for edge in edges if edge not in into_delays]
    inside = edges_inside(nodes, rest)
    if not inside:
        return into_delays
    depths = neuron_depths(nodes, edges)
    backward = {
        (a, b)
        for a, b in inside
        if isinstance(nodes[a], Neuron)
        and any(depths[n] <= depths[a] for n in neurons_from(nodes, inside, b))
    }
    return into_delays | backward


def closed_by_delay(
    nodes: Mapping[str, Node], inside: Iterable[Edge], name: str
) -> bool:
    """Whether a node is in a cycle and a Delay of at least a step for every value."""
    node = nodes[name]
    holds = isinstance(node, Delay) and node.holds_everything
    return holds and any(b == name for _, b in inside)


def edges_inside(
    nodes: Mapping[str, Node], edges: Collection[Edge]
) -> tuple[Edge, ...]:
    """The edges on cycles: both ends are in one strongly connected component."""
    index = {name: i for i, name in enumerate(nodes)}
    rows, columns = ([index[edge[side]] for edge in edges] for side in (0, 1))
    size = len(index)
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, labels = connected_components(matrix.tocsr(), connection="strong")
    return tuple((a, b) for a, b in edges if labels[index[a]] == labels[index[b]])


def neuron_depths(
    nodes: Mapping[str, Node], edges: Collection[Edge]
) -> dict[str, float]:
    """Least number of neurons on a path from the input to each node, itself included.

    It is infinite for a node without such a path.
    """
    depths = {n: 0.0 if isinstance(v, Input) else math.inf for n, v in nodes.items()}
    for _ in nodes:
        for a, b in edges:
            own = isinstance(nodes[b], Neuron)
            depths[b] = min(depths[b], depths[a] + own)
    return depths


def neurons_from(
    nodes: Mapping[str, Node], inside: Collection[Edge], name: str
) -> Iterator[str]:
    """The first neurons on every path from `name` along `inside`, itself included."""
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        if isinstance(nodes[current], Neuron):
            yield current
            continue
        after = {b for a, b in inside if a == current} - seen
        seen |= after
        waiting += after
