"""Convolutions between two populations: their geometry and their integer kernel.

Geometries are composed along a chain of maps. `convolution_of` reads the kernel from
the chain's unrolled matrix, and proves entry by entry that it unrolls to that matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from stars.graph.nodes import AvgPool2d, Conv2d, Map, Node, Scale, Shape, SumPool2d
from stars.graph.nodes.conv import Pair, window_count
from stars.grid.exact import Integers

MAX_ENTRIES = 2**25  # of one unrolled product: about 1 GB while it is built


@dataclass(frozen=True)
class Geometry:
    """A convolution without its weights; pairs are (vertical, horizontal).

    Args:
        source, target: shapes (C, H, W) and (O, H', W').
        kernel: (kh, kw).
        stride, padding, dilation, groups: see `stars.graph.nodes.Conv2d`.
    """

    source: Shape
    target: Shape
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(O, C / groups, kh, kw)."""
        return (self.target[0], self.source[0] // self.groups, *self.kernel)

    @property
    def unrolled_entries(self) -> int:
        """Number of entries of the unrolled matrix, with zeros and padding."""
        return math.prod(self.target) * math.prod(self.kernel_shape[1:])

    @property
    def sound(self) -> bool:
        """Whether the shapes agree and every size is valid."""
        pairs = (self.kernel, self.stride, self.dilation)
        if len(self.source) != 3 or len(self.target) != 3 or self.groups < 1:
            return False
        sizes = (*self.source, *self.target, *(n for p in pairs for n in p))
        if min(sizes) < 1 or min(self.padding) < 0:
            return False
        counts = tuple(
            window_count(*axis)
            for axis in zip(
                self.source[1:],
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        )
        channels = self.source[0] % self.groups, self.target[0] % self.groups
        return self.target[1:] == counts and channels == (0, 0)

    def pixels(self, axis: int) -> Integers:
        """The pixel under each tap at each place, [places, taps]; -1 for padding.

        Args:
            axis: 0 vertical, 1 horizontal.
        """
        places = self.stride[axis] * np.arange(self.target[1 + axis])
        taps = self.dilation[axis] * np.arange(self.kernel[axis]) - self.padding[axis]
        pixels = places[:, None] + taps
        inside = (pixels >= 0) & (pixels < self.source[1 + axis])
        return np.where(inside, pixels, -1)

    def after(self, first: Geometry) -> Geometry | None:
        """The geometry of `first` followed by this one; None if there is none.

        The result is a candidate: `convolution_of` proves it. It fails if this one's
        padding stands where `first`, on an image with more padding, would not be zero.
        """
        axes = [compose_axis(first, self, axis) for axis in (0, 1)]
        kernel, stride, padding, dilation = zip(*axes, strict=True)
        both = Geometry(
            first.source,
            self.target,
            kernel,
            stride,
            padding,
            dilation,
            math.gcd(first.groups, self.groups),
        )
        return both if both.sound else None


def compose_axis(first: Geometry, second: Geometry, axis: int) -> tuple[int, ...]:
    """(kernel, stride, padding, dilation) of two convolutions along one axis."""
    step = first.stride[axis]
    reach = [
        first.dilation[axis] * (first.kernel[axis] - 1),
        step * second.dilation[axis] * (second.kernel[axis] - 1),
    ]
    gaps = (first.dilation[axis], step * second.dilation[axis])
    used = [gap for gap, length in zip(gaps, reach, strict=True) if length]
    dilation = math.gcd(*used) or 1
    return (
        sum(reach) // dilation + 1,
        step * second.stride[axis],
        first.padding[axis] + step * second.padding[axis],
        dilation,
    )


def identity_geometry(shape: Shape) -> Geometry | None:
    """The identity as a 1 x 1 kernel for each channel; None without pixels."""
    if len(shape) != 3:
        return None
    return Geometry(shape, shape, (1, 1), groups=shape[0])


def geometry_of(node: Map, shape: Shape) -> Geometry | None:
    """The geometry of a map on inputs of `shape`; None if it has none."""
    rule = GEOMETRY.get(type(node))
    return None if rule is None or len(shape) != 3 else rule(node, shape)


def conv_geometry(node: Conv2d, shape: Shape) -> Geometry:
    """The geometry of a Conv2d."""
    return Geometry(
        shape,
        node.output_shape(shape),
        node.kernel,
        node.stride,
        node.padding,
        node.dilation,
        node.groups,
    )


def pool_geometry(node: SumPool2d, shape: Shape) -> Geometry:
    """The geometry of a pool: one group for each channel."""
    target = node.output_shape(shape)
    return Geometry(shape, target, node.kernel, node.stride, groups=shape[0])


GEOMETRY: Mapping[type[Node], Callable[[Any, Shape], Geometry | None]] = {
    Conv2d: conv_geometry,
    SumPool2d: pool_geometry,
    AvgPool2d: pool_geometry,
    Scale: lambda _, shape: identity_geometry(shape),  # if uniform in a channel
}


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution that unrolls to the matrix of a connection.

    Args:
        geometry: all of it but the weights.
        kernel: integers [O, C / groups, kh, kw]; 0 for a tap that sees padding alone.
    """

    geometry: Geometry
    kernel: Integers


def convolution_of(geometry: Geometry, weights: csr_array) -> Convolution | None:
    """The convolution of `geometry` that unrolls to exactly `weights`.

    None if there is none: neurons of one channel differ, or a composed geometry has
    pixels where the chain has padding.

    Args:
        geometry: may be unsound, or of other sizes, because it may come from a file.
        weights: integers [N target, N source].
    """
    if not geometry.sound or geometry.unrolled_entries > MAX_ENTRIES:
        return None
    if weights.shape != (math.prod(geometry.target), math.prod(geometry.source)):
        return None
    kernel = read_kernel(geometry, weights)
    if (unrolled(geometry, kernel) != weights).nnz:
        return None
    return Convolution(geometry, kernel)


def read_kernel(geometry: Geometry, weights: csr_array) -> Integers:
    """The kernel [O, C / groups, kh, kw]: each tap where it first sees a pixel."""
    (down, y), (right, x) = (first_seen(geometry.pixels(axis)) for axis in (0, 1))
    rows = np.arange(geometry.target[0])[:, None, None, None]
    rows = (rows * geometry.target[1] + down[:, None]) * geometry.target[2] + right
    columns = flat_pixels(geometry, y[:, None], x)
    matrix = weights.sorted_indices()
    width = matrix.shape[1]
    keys = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * width
    keys += matrix.indices
    wanted = np.where(columns < 0, -1, rows * width + columns)
    if not len(keys):
        return np.zeros(wanted.shape, np.int64)
    found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    values = np.where(keys[found] == wanted, matrix.data[found], 0)
    return np.asarray(values, np.int64)


def first_seen(pixels: Integers) -> tuple[Integers, Integers]:
    """(first place at which each tap sees a pixel, that pixel or -1), both [taps]."""
    place = (pixels >= 0).argmax(axis=0)
    return place, pixels[place, np.arange(pixels.shape[1])]


def flat_pixels(geometry: Geometry, y: Integers, x: Integers) -> Integers:
    """Flat index in the source of pixel (y, x), of each target and source channel.

    Args:
        geometry: of which convolution.
        y: int64 [...], -1 for padding.
        x: int64 [...], -1 for padding.

    Returns:
        [O, C / groups, ...]; -1 for padding.
    """
    out, each = geometry.kernel_shape[:2]
    group = np.arange(out) // (out // geometry.groups)
    channels = group[:, None] * each + np.arange(each)
    channels = channels.reshape(out, each, *[1] * np.ndim(y + x))
    flat = (channels * geometry.source[1] + y) * geometry.source[2] + x
    return np.where((y < 0) | (x < 0), -1, flat)


def unrolled(geometry: Geometry, kernel: Integers) -> csr_array:
    """The convolution as a matrix [N target, N source] without stored zeros."""
    y, x = geometry.pixels(0), geometry.pixels(1)
    # [O, C / groups, H', W', kh, kw] -> [O, H', W', C / groups, kh, kw]
    columns = flat_pixels(geometry, y[:, None, :, None], x[:, None, :])
    columns = columns.transpose(0, 2, 3, 1, 4, 5)
    data = np.broadcast_to(kernel[:, None, None], columns.shape)
    fan_in = math.prod(geometry.kernel_shape[1:])
    return sparse_rows(
        columns.reshape(-1, fan_in),
        data.reshape(-1, fan_in),
        math.prod(geometry.source),
    )


def sparse_rows(columns: Integers, data: Integers, width: int) -> csr_array:
    """A matrix with one row per row of `columns`; skips column -1 (padding)."""
    keep = (columns >= 0) & (data != 0)
    starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    matrix = csr_array((data[keep], columns[keep], starts), shape=(len(columns), width))
    matrix.sort_indices()
    return matrix
