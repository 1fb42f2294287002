"""The protocol of targets: a target runs a graph and records every neuron."""

from __future__ import annotations

from typing import Protocol

from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace


class Target(Protocol):
    """A simulator or a chip that runs a graph.

    A trace is always aligned to the input's steps: a target with transport delays
    removes them from its trace.
    """

    @property
    def name(self) -> str:
        """Its name on the command line."""

    @property
    def description(self) -> str:
        """One line: the simulator and its arithmetic."""

    @property
    def chunk(self) -> int:
        """Largest batch for one call of `run`; callers split larger ones."""

    def unavailable(self) -> str | None:
        """Why it cannot run here, with the command that fixes it; None if it can."""

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape], from the initial state.

        Raises:
            UnsupportedNodeError: the target cannot express a node of the graph.
            LimitError: the graph does not fit; holds every violation.
            DataError: the inputs are not what the graph takes.
            TargetError: the simulator failed; with the end of its log.
        """
