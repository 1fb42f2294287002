"""What a target is: something that runs a graph and says what every neuron did."""

from __future__ import annotations

from typing import Protocol

from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace


class Target(Protocol):
    """A simulator or a chip, behind one function.

    A target that delays spikes on their way shifts its trace back before it hands it
    over; a trace is always aligned to the input's steps.
    """

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def description(self) -> str:
        """One line: what runs, in which arithmetic."""

    @property
    def chunk(self) -> int:
        """Inputs that one call of `run` takes comfortably; callers split at this."""

    def unavailable(self) -> str | None:
        """Why it cannot run here, with the command that mends it; None when it can."""

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape], from the initial state.

        Raises:
            UnsupportedNodeError: the target cannot express a node of the graph.
            LimitError: the graph does not fit; every violation at once.
            DataError: the inputs are not what the graph takes.
            TargetError: the simulator failed; with the end of its log.
        """
