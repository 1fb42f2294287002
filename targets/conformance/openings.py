"""What the specification of NIR leaves open, as other graphs with the same right.

NIR states differential equations. It does not say how to step them, from which state
they start, or which side of a cycle is late. An output that equals one of these
readings is said to be open, and counts for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Affine,
    Array,
    CubaLI,
    CubaLIF,
    Delay,
    Node,
)
from stars.graph.spiking_graph import SpikingGraph


@dataclass(frozen=True, eq=False)
class LIFFromZero(LIF):
    """A LIF whose membrane starts at 0."""

    def initial(self, batch: int) -> Array:
        """Zeros, [batch, *shape]."""
        return np.zeros((batch, *self.shape))


@dataclass(frozen=True, eq=False)
class LIFFromReset(LIF):
    """A LIF whose membrane starts at v_reset."""

    def initial(self, batch: int) -> Array:
        """The reset, [batch, *shape]."""
        return np.broadcast_to(self.v_reset, (batch, *self.shape)).copy()


@dataclass(frozen=True, eq=False)
class IFFromReset(IF):
    """An IF whose membrane starts at v_reset."""

    initial = LIFFromReset.initial


@dataclass(frozen=True, eq=False)
class LateCubaLI(CubaLI):
    """A CubaLI whose membrane uses the current of the previous step."""

    def integrate(self, x: Array, state: Array, dt: float) -> tuple[Array, Array]:
        """(Current, membrane before any reset) after one step."""
        u, v = state[:, 0], state[:, 1]
        after = v + (dt / self.tau_mem) * (self.v_leak - v + self.r * u)
        return u + (dt / self.tau_syn) * (self.w_in * x - u), after


@dataclass(frozen=True, eq=False)
class LateCubaLIF(CubaLIF):
    """A CubaLIF whose membrane uses the current of the previous step."""

    integrate = LateCubaLI.integrate


def exponential(graph: SpikingGraph) -> SpikingGraph:
    """Each decay e^(-dt / tau) instead of 1 - dt / tau."""
    changed: dict[str, Node] = {}
    for name in graph.neurons:
        node: Any = graph.nodes[name]
        if isinstance(node, LIF | LI | CubaLI):
            times = [f.name for f in fields(node) if f.name.startswith("tau")]
            taus = {t: decayed(getattr(node, t), graph.dt) for t in times}
            changed[name] = replace(node, **taus)  # type: ignore[arg-type]
    return graph.replace_nodes(changed)


def decayed(tau: Array, dt: float) -> Array:
    """The tau whose Euler step is the exact decay: 1 - dt / tau' = e^(-dt / tau)."""
    return dt / -np.expm1(-dt / tau)


def from_zero(graph: SpikingGraph) -> SpikingGraph:
    """Membranes that start at 0 instead of v_leak."""
    return converted(graph, {LIF: LIFFromZero})


def from_reset(graph: SpikingGraph) -> SpikingGraph:
    """Membranes that start at v_reset instead of v_leak or 0."""
    return converted(graph, {LIF: LIFFromReset, IF: IFFromReset})


def late_current(graph: SpikingGraph) -> SpikingGraph:
    """Membranes that use the synaptic current of the previous step."""
    return converted(graph, {CubaLIF: LateCubaLIF, CubaLI: LateCubaLI})


def converted(
    graph: SpikingGraph, kinds: Mapping[type[Node], type[Node]]
) -> SpikingGraph:
    """The graph with nodes of other types and the same parameters."""
    return graph.replace_nodes(
        {
            name: kinds[type(node)](**node.parameters())
            for name, node in graph.nodes.items()
            if type(node) in kinds
        }
    )


def late_weights(graph: SpikingGraph) -> SpikingGraph:
    """Cycles that are late behind the weights: no bias in the first step."""
    nodes, edges = dict(graph.nodes), list(graph.edges)
    for _, b in sorted(graph.delayed):
        if isinstance(graph.nodes[b], Affine):
            wait = f"{b}_late"
            nodes[wait] = Delay(np.ones(graph.shapes[b], np.int64))
            edges = [(wait if x == b else x, y) for x, y in edges]
            edges.append((b, wait))
    return replace(graph, nodes=nodes, edges=tuple(edges))


OPENINGS: Mapping[str, Callable[[SpikingGraph], SpikingGraph]] = {
    "exponential decay": exponential,
    "starts at 0": from_zero,
    "starts at v_reset": from_reset,
    "current of the step before": late_current,
    "late behind the weights": late_weights,
}
