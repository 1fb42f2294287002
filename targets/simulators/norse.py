"""Norse as a target: the graph rebuilt from torch modules and Norse's own cells.

Listing it imports no torch; running it does.
"""

from __future__ import annotations

from importlib.util import find_spec

from stars.graph.nodes import Array
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace


class NorseTarget:
    """The target that runs Norse's cells and torch's layers on the CPU."""

    name = "norse"
    description = "Norse LIFBox cells and torch layers, rebuilt from the file: float32"
    chunk = 250

    def unavailable(self) -> str | None:
        """Missing packages, and the command that installs them; None if complete."""
        missing = [name for name in ("torch", "norse") if find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed; run 'pip install stars-snn'"
        return None

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape].

        With `forced`, each layer reads its input spikes from that trace.

        Raises:
            DataError: the inputs do not fit the graph.
            UnsupportedNodeError: names every node without a torch module.
        """
        from targets.simulators.norse_network import simulate  # noqa: PLC0415 - it imports torch

        return simulate(graph, check_inputs(graph, inputs), forced)
