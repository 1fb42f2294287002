"""Average and sum pooling over whole windows, without padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Map, Shape
from stars.graph.nodes.conv import Pair, pair, window_count, windows


@dataclass(frozen=True, eq=False)
class SumPool2d(Map):
    """y[c, i, j] = sum of x[c] over the window at (s i, s j).

    Args:
        kernel, stride: (vertical, horizontal), in pixels.
    """

    kernel: Pair
    stride: Pair

    mean: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("kernel", "stride"):
            object.__setattr__(self, name, pair(getattr(self, name), name, 1))

    @property
    def scale(self) -> float:
        """The factor of each window's sum: 1, or 1 / window size for the mean."""
        return 1.0 / (self.kernel[0] * self.kernel[1]) if self.mean else 1.0

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H', W') for an input of shape (C, H, W)."""
        if len(shape) != 3:
            raise GraphError(f"input has shape {shape}, expected (C, H, W)")
        size = tuple(
            window_count(n, k, s, 0, 1)
            for n, k, s in zip(shape[1:], self.kernel, self.stride, strict=True)
        )
        if min(size) < 1:
            raise GraphError(f"window {self.kernel} does not fit an input of {shape}")
        return (shape[0], *size)

    def apply(self, x: Array) -> Array:
        """The output [B, C, H', W'] for x [B, C, H, W]."""
        view = windows(x, self.kernel, self.stride, (1, 1))
        sums: Array = view.sum(axis=(-2, -1))
        return sums * self.scale


@dataclass(frozen=True, eq=False)
class AvgPool2d(SumPool2d):
    """y[c, i, j] = mean of x[c] over the window at (s i, s j)."""

    mean: ClassVar[bool] = True
