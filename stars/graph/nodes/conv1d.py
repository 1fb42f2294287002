"""Conv1d: a one-dimensional cross-correlation, computed as a Conv2d of height 1."""

from __future__ import annotations

from dataclasses import dataclass

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Map, Shape, frozen_array
from stars.graph.nodes.conv import Conv2d


@dataclass(frozen=True, eq=False)
class Conv1d(Map):
    """A cross-correlation of x, padded with zeros, in `groups` independent parts.

        y[o, i] = b[o] + sum_{c,m} W[o, c, m] x[c, s i + d m - p]

    Args:
        weight: W, [out, in / groups, k].
        bias: b, [out].
        stride, padding, dilation: in samples; padding is zeros.
        groups: number of independent convolutions into which channels are split.

    Source: NIR 1.0, primitive Conv1d.
    """

    weight: Array
    bias: Array
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight, "weight", 3))
        object.__setattr__(self, "bias", frozen_array(self.bias, "bias", 1))
        self.flat()

    def flat(self) -> Conv2d:
        """The same map as a Conv2d on (C, 1, L)."""
        return Conv2d(
            self.weight[:, :, None],
            self.bias,
            (1, self.stride),
            (0, self.padding),
            (1, self.dilation),
            self.groups,
        )

    def output_shape(self, shape: Shape) -> Shape:
        """(out, L') for an input of shape (C, L)."""
        if len(shape) != 2:
            raise GraphError(f"input has shape {shape}, expected (C, L)")
        out, _, length = self.flat().output_shape((shape[0], 1, shape[1]))
        return out, length

    def apply(self, x: Array) -> Array:
        """The output [B, out, L'] for x [B, C, L]."""
        return self.flat().apply(x[:, :, None])[:, :, 0]
