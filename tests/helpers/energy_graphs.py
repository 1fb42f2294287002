"""Small graphs whose operations are counted, for the tests of energy."""

from __future__ import annotations

import itertools

import numpy as np

from stars.graph import reference
from stars.graph.encoding import Encoding
from stars.graph.nodes import LIF, Affine, Input, Integrator, Node, Output
from stars.graph.spiking_graph import SpikingGraph
from targets.energy_model.counts import Counts, count


def measured(graph: SpikingGraph, inputs: np.ndarray) -> Counts:
    """The counts of one run of the reference."""
    return count(graph, [(inputs, reference.run(graph, inputs))])


def chain(
    *nodes: Node, steps: int = 1, encoding: Encoding | None = None
) -> SpikingGraph:
    """The nodes one after the other: n0, n1, ..."""
    names = [f"n{i}" for i in range(len(nodes))]
    edges = tuple(itertools.pairwise(names))
    return SpikingGraph(
        dict(zip(names, nodes, strict=True)), edges, 1.0, steps, encoding
    )


def dense(inputs: int, outputs: int, steps: int) -> SpikingGraph:
    """Spikes into one dense population that has no bias and never spikes."""
    return chain(
        Input((inputs,)),
        Affine(np.ones((outputs, inputs)), np.zeros(outputs)),
        LIF.uniform((outputs,), tau=2.0, v_threshold=2.0**20),
        Affine(np.zeros((1, outputs)), np.zeros(1)),
        Integrator(np.ones(1)),
        Output(),
        steps=steps,
    )
