"""The reference as a target: float64 numpy, the definition of truth."""

from __future__ import annotations

from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace


class ReferenceTarget:
    """The target that runs `stars.graph.reference`."""

    name = "reference"
    description = "the definition of truth: numpy, float64, one node at a time"
    chunk = 500

    def unavailable(self) -> str | None:
        """None: it needs nothing but numpy."""
        return None

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape].

        With `forced`, each layer reads its input spikes from that trace.

        Raises:
            DataError: the inputs do not fit the graph.
        """
        return reference.run(graph, inputs, forced)
