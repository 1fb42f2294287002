"""Trace: the recorded spikes and membranes of a run, which parity and energy read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from stars.errors import GraphError
from stars.graph.nodes.base import Array

HEALTHY_RATES = (0.01, 0.6)  # spikes per neuron and step


@dataclass(frozen=True, eq=False)
class Trace:
    """Spikes and membranes of one run, aligned to the input's steps.

    Args:
        spikes: bool [T, B, *shape] by the name of each spiking node.
        membranes: float64 [T, B, *shape], volts, after the step's reset, by the name of
            each recorded neuron node; always includes the readout.
        readout: name of the node whose last membrane gives the class.
        currents: float64 [T, B, *shape], volts that the synaptic current adds to the
            membrane in the step, by the name of each neuron node for which it was
            requested.
    """

    spikes: Mapping[str, NDArray[np.bool_]]
    membranes: Mapping[str, Array]
    readout: str
    currents: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spikes", MappingProxyType(dict(self.spikes)))
        object.__setattr__(self, "membranes", MappingProxyType(dict(self.membranes)))
        object.__setattr__(self, "currents", MappingProxyType(dict(self.currents)))
        if self.readout not in self.membranes:
            raise GraphError(
                f"trace has no membrane of the readout {self.readout!r};"
                f" it has {sorted(self.membranes)}"
            )

    @property
    def steps(self) -> int:
        """T."""
        return int(self.membranes[self.readout].shape[0])

    @property
    def batch(self) -> int:
        """B, the number of inputs."""
        return int(self.membranes[self.readout].shape[1])

    def decisions(self) -> NDArray[np.int64]:
        """Class of each input, [B]: the readout's largest membrane after T steps."""
        last = self.membranes[self.readout][-1]
        largest: NDArray[np.int64] = last.reshape(self.batch, -1).argmax(axis=1)
        return largest

    def rates(self) -> dict[str, float]:
        """Firing rate of each spiking node: spikes per neuron and step, 0 to 1."""
        return {name: float(spikes.mean()) for name, spikes in self.spikes.items()}
