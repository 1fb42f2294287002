"""Truncating decay: a graph that does, at any T, what a chip's integer membranes do.

On the grid a plain decay is exact only while the chip has bits to spare for it. Here
every LIF and CubaLIF gets the step that the chip's membrane counts in, so that the
reference and every target truncate where the chip does.
"""

from __future__ import annotations

from dataclasses import replace

from stars.graph import SpikingGraph
from stars.lowering import lower
from stars.nodes import LIF, CubaLIF, Node
from stars.plan import STATE_SHIFT


def with_truncating_decay(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with every decay truncating to the chip's membrane step.

    The step is 1/64 of a population's coarsest unit: any weight is then a multiple of
    64 steps, and 24 bits go furthest. One that truncates already stays as it is.

    Raises:
        GraphError: the graph is off the grid.
        LimitError: it does not fit the chip; holds every violation.
        UnsupportedNodeError: a node that has no integer form.
    """
    changed: dict[str, Node] = {}
    for population in lower(replace(graph, steps=1)).populations:
        node = graph.nodes[population.name]
        if isinstance(node, LIF | CubaLIF):
            step = 2.0 ** (population.exponent - STATE_SHIFT)
            changed[population.name] = replace(node, membrane_step=step)
    return graph.replace_nodes(changed)
