"""Graph rewrites before rounding.

Exact in real numbers: `sum_pools` turns mean pools into sum pools, and
`fold_resistances` turns resistances into 1; the factors move into nearby weights.

Not exact, and done only on request: `round_decays` changes time constants, and
`with_truncating_decay` gives every LIF and CubaLIF the step in which the chip counts
its membrane, so that the reference and every target truncate as the chip does. On the
grid, a plain decay is exact only while the chip has spare bits for it; a truncating
decay is exact at any T.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from stars.errors import GraphError
from stars.graph.nodes import (
    IF,
    LIF,
    Array,
    AvgPool2d,
    CubaLIF,
    Integrator,
    Map,
    Node,
    SumPool2d,
    Weighted,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.integer_neurons import CURRENT_SHIFTS, DECAY_SHIFTS
from stars.grid.lowering import lower
from stars.grid.plan import STATE_SHIFT


def sum_pools(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with mean pools replaced by sum pools, their 1 / area moved into weights.

    The factor moves into the next weights. If there are none before the next neuron, it
    moves into the weights just before. If there are none either, the mean pool stays,
    which needs a power of two.

    Raises:
        GraphError: a factor is no power of two and no weights can take it.
    """
    for name in graph.order:
        node = graph.nodes[name]
        if not isinstance(node, AvgPool2d):
            continue
        changed = weights_after(graph, name, node.scale)
        if not changed:
            changed = weights_ahead(graph, name, node.scale)
        if changed:
            pool = SumPool2d(node.kernel, node.stride)
            graph = graph.replace_nodes({**changed, name: pool})
        elif math.frexp(node.scale)[0] != 0.5:
            raise GraphError(
                f"node {name!r}: its factor {node.scale!r} is no power of two, and no"
                " weights near it can take it; put a convolution or a dense node after"
                " it, or use a window of 2^n pixels"
            )
    return graph


def weights_after(graph: SpikingGraph, name: str, scale: float) -> dict[str, Weighted]:
    """The next weights on all paths from `name`, scaled; empty if a path has none."""
    found: dict[str, Weighted] = {}
    for after in graph.successors(name):
        node = graph.nodes[after]
        if len(graph.predecessors(after)) > 1 or not isinstance(node, Map):
            return {}
        if isinstance(node, Weighted):
            found[after] = replace(node, weight=node.weight * scale)
            continue
        further = weights_after(graph, after, scale)
        if not further:
            return {}
        found |= further
    return found


def weights_ahead(graph: SpikingGraph, name: str, scale: float) -> dict[str, Weighted]:
    """The weights just before `name` that only it reads, scaled; empty if none."""
    before = graph.predecessors(name)
    if len(before) > 1 or len(graph.successors(before[0])) > 1:
        return {}
    node = graph.nodes[before[0]]
    if isinstance(node, Weighted):
        return {before[0]: scaled(node, scale)}
    return weights_ahead(graph, before[0], scale) if isinstance(node, Map) else {}


def fold_resistances(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with every r that is no power of two moved into the weights before it.

    For v' = v + k (v_leak - v + r x), W and b become r W and r b, and r becomes 1. For
    an Integrator or an IF they become dt r W and dt r b, and r becomes 1 / dt. A
    synaptic current is linear in its input, so its w_in moves in the same way. A
    population is not changed if the factor differs within a channel, or if other nodes
    read the same weights.
    """
    for name in graph.neurons:
        node = graph.neuron(name)
        if not isinstance(node, IF | LIF | CubaLIF | Integrator):
            continue
        gain, unity = gain_of(node, graph.dt)
        parts = (gain, node.r) if isinstance(node, CubaLIF) else (gain,)
        if all((np.abs(np.frexp(p)[0]) == 0.5).all() for p in parts) and not np.ptp(
            gain
        ):
            continue
        changed = weights_of_population(graph, name, gain)
        if changed:
            graph = graph.replace_nodes({**changed, name: unity})
    return graph


def gain_of(
    node: IF | LIF | CubaLIF | Integrator, dt: float
) -> tuple[Array, IF | LIF | CubaLIF | Integrator]:
    """(The factor of everything that arrives, the node without it)."""
    one = np.ones(node.shape)
    if isinstance(node, IF | Integrator):
        return dt * node.r, replace(node, r=one / dt)
    if isinstance(node, CubaLIF):
        return node.r * node.w_in, replace(node, r=one, w_in=one)
    return node.r, replace(node, r=one)


def weights_of_population(
    graph: SpikingGraph, name: str, gain: Array
) -> dict[str, Weighted]:
    """All weights before a population, times `gain`; empty if a path has none.

    Args:
        graph: holds the population.
        name: of the population.
        gain: has the population's shape; equal within each channel.
    """
    channels = gain.reshape(len(gain), -1)
    if np.ptp(channels, axis=1).any():
        return {}
    found: dict[str, Weighted] = {}
    for before in graph.predecessors(name):
        node = graph.nodes[before]
        if len(graph.successors(before)) > 1:
            return {}
        if isinstance(node, Weighted):
            found[before] = scaled(node, channels[:, 0])
            continue
        alike = isinstance(node, Map) and not np.ptp(gain)
        way = weights_ahead(graph, before, float(gain.flat[0])) if alike else {}
        if not way:
            return {}
        found |= way
    return found


def scaled(node: Weighted, gain: Array | float) -> Weighted:
    """The node with weights and biases times `gain`: one number, or one per channel."""
    each = np.broadcast_to(gain, len(node.bias))
    rows = each.reshape(-1, *(1 for _ in node.weight.shape[1:]))
    return replace(node, weight=node.weight * rows, bias=node.bias * each)


def round_decays(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with every tau rounded to the nearest dt 2^j by ratio, j from 1 to 12.

    For a synaptic current j may also be 0. Leak, threshold and resistance stay, so a
    constant input settles at the same membrane, only faster or slower. A tau that is
    dt 2^j already keeps its bits.
    """
    changed: dict[str, Node] = {}
    for name in graph.spiking:
        node = graph.nodes[name]
        if isinstance(node, LIF):
            changed[name] = replace(node, tau=nearest(node.tau, graph.dt, DECAY_SHIFTS))
        elif isinstance(node, CubaLIF):
            changed[name] = replace(
                node,
                tau_mem=nearest(node.tau_mem, graph.dt, DECAY_SHIFTS),
                tau_syn=nearest(node.tau_syn, graph.dt, CURRENT_SHIFTS),
            )
    return graph.replace_nodes(changed)


def nearest(tau: Array, dt: float, shifts: range) -> Array:
    """Each tau rounded to dt 2^j with the nearest j of `shifts`, by ratio."""
    k = dt / tau
    j = np.clip(np.rint(-np.log2(k)), shifts[0], shifts[-1])
    return np.where(k == np.exp2(-j), tau, dt * np.exp2(j))


def with_truncating_decay(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with every decay truncating to the chip's membrane step.

    The step is 1/64 of the population's coarsest unit. Then every weight is a multiple
    of 64 steps, and 24 bits hold the largest range. A node that truncates already keeps
    its step.

    Raises:
        GraphError: the graph is off the grid.
        LimitError: it does not fit the chip; holds every violation.
        UnsupportedNodeError: a node has no integer form.
    """
    changed: dict[str, Node] = {}
    for population in lower(replace(graph, steps=1)).populations:
        node = graph.nodes[population.name]
        if isinstance(node, LIF | CubaLIF):
            step = 2.0 ** (population.exponent - STATE_SHIFT)
            changed[population.name] = replace(node, membrane_step=step)
    return graph.replace_nodes(changed)
