"""Scale: multiplies each value by its own factor."""

from __future__ import annotations

from dataclasses import dataclass

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Map, Shape, frozen_population


@dataclass(frozen=True, eq=False)
class Scale(Map):
    """y = s x, elementwise.

    Args:
        scale: s, full shape.

    Source: NIR 1.0, primitive Scale.
    """

    scale: Array

    def __post_init__(self) -> None:
        frozen_population(self, ("scale",))

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the factors, which the input must have too."""
        if shape != self.scale.shape:
            raise GraphError(f"input has shape {shape}, expected {self.scale.shape}")
        return shape

    def apply(self, x: Array) -> Array:
        """The output [B, *shape] for x [B, *shape]."""
        return x * self.scale
