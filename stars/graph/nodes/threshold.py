"""Threshold: spikes if a value is above a bound, without memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stars.graph.nodes.base import Array, Neuron, Shape, fire, frozen_population


@dataclass(frozen=True, eq=False)
class Threshold(Neuron):
    """s = [x > threshold].

    It is a neuron with membrane v = x and no memory, so that its spikes are recorded
    and compared like those of other neurons.

    Args:
        threshold: in units of x, full shape.

    Source: NIR 1.0, primitive Threshold.
    """

    threshold: Array

    def __post_init__(self) -> None:
        frozen_population(self, ("threshold",))

    @property
    def shape(self) -> Shape:
        """Shape of the population."""
        return self.threshold.shape

    @property
    def spiking(self) -> bool:
        """True: the output is spikes."""
        return True

    def initial(self, batch: int) -> Array:
        """Zeros, [batch, *shape]; the first step ignores them."""
        return np.zeros((batch, *self.shape))

    def step(self, arriving: Array, v: Array, dt: float) -> tuple[Array, Array]:  # noqa: ARG002 - it has no memory
        """(Spikes as 0.0 and 1.0, input)."""
        return fire(arriving, self.threshold, arriving)
