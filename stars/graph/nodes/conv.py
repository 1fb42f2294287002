"""Conv2d: a two-dimensional cross-correlation with zero padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Map, Shape, frozen_array

Pair = tuple[int, int]


def pair(value: int | Pair, name: str, minimum: int) -> Pair:
    """`value` as (vertical, horizontal), both at least `minimum`."""
    both = (value, value) if isinstance(value, int) else tuple(int(n) for n in value)
    if len(both) != 2 or min(both) < minimum:
        raise GraphError(f"{name} is {value}, expected two integers >= {minimum}")
    return both


def windows(
    x: NDArray[Any], kernel: Pair, stride: Pair, dilation: Pair
) -> NDArray[Any]:
    """All kernel-sized windows of x [B, C, H, W], a view [B, C, H', W', kh, kw]."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=(2, 3))
    (sy, sx), (dy, dx) = stride, dilation
    return view[:, :, ::sy, ::sx, ::dy, ::dx]


def window_count(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Output length along one axis; < 1 if the kernel does not fit."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True, eq=False)
class Conv2d(Map):
    """A cross-correlation of x, padded with zeros, in `groups` independent parts.

        y[o, i, j] = b[o] + sum_{c,m,n} W[o, c, m, n] x[c, s i + d m - p, s j + d n - p]

    Args:
        weight: W, [out, in / groups, kh, kw].
        bias: b, [out].
        stride, padding, dilation: (vertical, horizontal), in pixels; padding is zeros.
        groups: number of independent convolutions into which channels are split.
    """

    weight: Array
    bias: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight, "weight", 4))
        object.__setattr__(self, "bias", frozen_array(self.bias, "bias", 1))
        for name, minimum in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, minimum))
        out = self.weight.shape[0]
        if self.bias.shape != (out,):
            raise GraphError(
                f"bias has shape {self.bias.shape}, expected ({out},)"
                f" from weight {self.weight.shape}"
            )
        if self.groups < 1 or out % self.groups:
            raise GraphError(f"groups is {self.groups}, expected a divisor of {out}")

    @property
    def kernel(self) -> Pair:
        """(kh, kw)."""
        return cast("Pair", self.weight.shape[2:])

    def output_shape(self, shape: Shape) -> Shape:
        """(out, H', W') for an input of shape (C, H, W)."""
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise GraphError(f"input has shape {shape}, expected ({channels}, H, W)")
        size = tuple(
            window_count(n, k, s, p, d)
            for n, k, s, p, d in zip(
                shape[1:],
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        if min(size) < 1:
            raise GraphError(f"kernel {self.kernel} does not fit an input of {shape}")
        return (self.weight.shape[0], *size)

    def apply(self, x: Array) -> Array:
        """The output [B, out, H', W'] for x [B, C, H, W]."""
        (py, px), groups = self.padding, self.groups
        padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
        view = windows(padded, self.kernel, self.stride, self.dilation)
        batch, channels, height, width = view.shape[:4]
        out = self.weight.shape[0]
        # [g, B H' W', C/g kh kw] @ [g, C/g kh kw, out/g]
        columns = view.reshape(
            batch, groups, channels // groups, height, width, *self.kernel
        )
        columns = columns.transpose(1, 0, 3, 4, 2, 5, 6).reshape(
            groups, batch * height * width, -1
        )
        kernels = self.weight.reshape(groups, out // groups, -1).transpose(0, 2, 1)
        product = (columns @ kernels).reshape(groups, batch, height, width, -1)
        result = product.transpose(1, 0, 4, 2, 3).reshape(batch, out, height, width)
        return result + self.bias[:, None, None]
