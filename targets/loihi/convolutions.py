"""Convolutions found in unrolled matrices, as geometry and weights.

A plan holds the unrolled matrix alone; whether that is a convolution is found out here,
and proven entry by entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from stars.graph.nodes import Shape
from targets.loihi.multiplication import Values

Places = NDArray[np.int64]

WINDOW_COST = 8  # of copying a value into a window, in multiplications of a product


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution as geometry and weights.

    Args:
        source, target: shapes (C, H, W) and (O, H', W').
        weights: [kh, kw, C, O].
        stride: (vertical, horizontal).
        before: zeros above and to the left of the image.
    """

    source: Shape
    target: Shape
    weights: Values
    stride: tuple[int, int]
    before: tuple[int, int]

    @property
    def cost(self) -> float:
        """Time for one image, in multiplications of a dense product."""
        windows = self.target[1] * self.target[2] * self.weights[..., 0].size
        return windows * (self.target[0] + WINDOW_COST)

    @property
    def evenly_padded(self) -> bool:
        """Whether the target is as large as with equal zeros before and behind."""
        return all(
            (size + 2 * before - extent) // stride + 1 == count
            for size, before, extent, stride, count in zip(
                self.source[1:],
                self.before,
                self.weights.shape[:2],
                self.stride,
                self.target[1:],
                strict=True,
            )
        )


def find_kernel(weights: csr_array, source: Shape, target: Shape) -> Kernel | None:
    """The convolution that unrolls to exactly `weights`; None when there is none."""
    if len(source) != 3 or len(target) != 3 or not weights.nnz:
        return None
    entries = coo_array(weights)
    out, places = split(entries.row, target)
    channel, pixels = split(entries.col, source)
    y = axis_of(places[0], pixels[0], target[1])
    x = axis_of(places[1], pixels[1], target[2])
    kernel = np.zeros((y.extent, x.extent, source[0], target[0]), weights.dtype)
    where = (y.taps(places[0], pixels[0]), x.taps(places[1], pixels[1]), channel, out)
    kernel[where] = entries.data
    visits = np.outer(y.visits(source[1], target[1]), x.visits(source[2], target[2]))
    expected = (visits * np.count_nonzero(kernel, axis=(2, 3))).sum()
    # Every entry is where and what the kernel says, and none is missing.
    if expected != weights.nnz or (kernel[where] != entries.data).any():
        return None
    return Kernel(source, target, kernel, (y.stride, x.stride), (y.before, x.before))


def split(flat: Places, shape: Shape) -> tuple[Places, tuple[Places, Places]]:
    """(channel, (row, column)) of flat places in a (C, H, W) population."""
    channel, pixel = np.divmod(flat, shape[1] * shape[2])
    return channel, np.divmod(pixel, shape[2])


@dataclass(frozen=True)
class Axis:
    """A kernel along one axis; see `Kernel`."""

    stride: int
    before: int
    extent: int

    def taps(self, places: Places, pixels: Places) -> Places:
        """Which tap of the kernel sees each pixel from each place."""
        return pixels - self.stride * places + self.before

    def visits(self, size: int, count: int) -> Places:
        """How many of `count` windows see a pixel of the image's `size`, each tap."""
        places = self.stride * np.arange(count) - self.before
        pixels = places[:, None] + np.arange(self.extent)
        return np.asarray(((pixels >= 0) & (pixels < size)).sum(axis=0))


def axis_of(place: Places, pixel: Places, count: int) -> Axis:
    """The least kernel along one axis that could have these entries.

    Windows that the border cuts move by less than the stride, none by more.
    """
    first, last = np.full(count, np.iinfo(np.int32).max), np.full(count, -1)
    np.minimum.at(first, place, pixel)
    np.maximum.at(last, place, pixel)
    steps = np.concatenate([np.diff(first[last >= 0]), np.diff(last[last >= 0])])
    stride = max(1, int(steps.max(initial=1)))
    offset = pixel - stride * place
    before = max(0, -int(offset.min()))
    return Axis(stride, before, before + int(offset.max()) + 1)
