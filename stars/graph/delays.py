"""Which edges of a graph with cycles deliver one step late: a rule, not a choice.

Within a step, values flow from node to node without delay. In a cycle that cannot be:
somewhere a value of the step before must be taken. Where, follows from the nodes and
edges alone, never from the order in which a file lists them:

1. A `Delay` in a cycle that holds everything for a step or more is where that cycle is
   cut: the edges into it deliver one step late, and it holds one step less. Together
   that is the delay it states.
2. In the cycles that are left, an edge that leaves a neuron is delayed when it leads,
   through maps, to a neuron of the same cycle that is no deeper than the one it leaves.
   The depth of a neuron is the least number of neurons on a way from the input to it,
   itself included.

So a population that feeds itself through weights sends its spikes of step t - 1 into
those weights at step t (at t = 0 they get zeros and give their bias), two populations
side by side each see the other's last step, and feedback from a deeper population to
one before it is late while the way forward is not.

Source: recurrence through the spikes of the step before, with zeros before the first,
is how snnTorch's RLeaky and RSynaptic and Norse's recurrent cells step.
Differs: nirtorch's executor also takes the step before, but after the weights instead
of before them, so that the recurrent bias is missing in its first step.
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
    """The edges that deliver the value of the step before; none without a cycle.

    A cycle of maps alone keeps its edges: nothing in it can hold a value.
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
    """Whether a node is a Delay in a cycle, and holds every value for a step."""
    node = nodes[name]
    holds = isinstance(node, Delay) and node.holds_everything
    return holds and any(b == name for _, b in inside)


def edges_inside(
    nodes: Mapping[str, Node], edges: Collection[Edge]
) -> tuple[Edge, ...]:
    """The edges that lie on a cycle: both ends in one strongly connected component."""
    index = {name: i for i, name in enumerate(nodes)}
    rows, columns = ([index[edge[side]] for edge in edges] for side in (0, 1))
    size = len(index)
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    _, labels = connected_components(matrix.tocsr(), connection="strong")
    return tuple((a, b) for a, b in edges if labels[index[a]] == labels[index[b]])


def neuron_depths(
    nodes: Mapping[str, Node], edges: Collection[Edge]
) -> dict[str, float]:
    """Least number of neurons on a way from the input to each node, itself included.

    Infinity where no way leads.
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
    """The first neurons on every way from `name` along `inside`, itself included."""
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        if isinstance(nodes[current], Neuron):
            yield current
            continue
        after = {b for a, b in inside if a == current} - seen
        seen |= after
        waiting += after
