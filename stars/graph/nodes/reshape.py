"""Flatten: turns all axes of one sample into one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stars.graph.nodes.base import Array, Map, Shape


@dataclass(frozen=True, eq=False)
class Flatten(Map):
    """(C, H, W) -> (C H W,), last axis fastest."""

    def output_shape(self, shape: Shape) -> Shape:
        """(Number of values,)."""
        return (math.prod(shape),)

    def apply(self, x: Array) -> Array:
        """The output [B, N] for x [B, ...]."""
        return x.reshape(len(x), -1)
