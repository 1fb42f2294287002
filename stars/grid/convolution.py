"""Convolutions between two populations: their geometry, and their integer kernel.

A geometry is composed along a chain of maps. `convolution_of` reads the kernel out of
the chain's unrolled matrix and proves entry by entry that it gives that matrix.
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
        """Entries of the unrolled matrix, those on padding and zeros included."""
        return math.prod(self.target) * math.prod(self.kernel_shape[1:])

    @property
    def sound(self) -> bool:
        """Whether the shapes agree and every size is possible."""
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
        """The pixel that each place sees through each tap, [count, taps]; -1: padding.

        Args:
            axis: 0 vertical, 1 horizontal.
        """
        places = self.stride[axis] * np.arange(self.target[1 + axis])
        taps = self.dilation[axis] * np.arange(self.kernel[axis]) - self.padding[axis]
        pixels = places[:, None] + taps
        inside = (pixels >= 0) & (pixels < self.source[1 + axis])
        return np.where(inside, pixels, -1)

    def after(self, first: Geometry) -> Geometry | None:
        """The geometry of `first` and then this one; None where there is none.

        Padding of this one must then be zeros that `first` would compute too; whether
        it is so is for `convolution_of` to prove.
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
    """A population's own value: a 1 x 1 kernel for each channel."""
    if len(shape) != 3:
        return None
    return Geometry(shape, shape, (1, 1), groups=shape[0])


def geometry_of(node: Map, shape: Shape) -> Geometry | None:
    """The geometry of a map on inputs of `shape`; None where it has none."""
    rule = GEOMETRY.get(type(node))
    return None if rule is None or len(shape) != 3 else rule(node, shape)


def conv_geometry(node: Conv2d, shape: Shape) -> Geometry:
    """Of the node itself."""
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
    """Each channel by itself."""
    target = node.output_shape(shape)
    return Geometry(shape, target, node.kernel, node.stride, groups=shape[0])


def scale_geometry(_: Scale, shape: Shape) -> Geometry | None:
    """A 1 x 1 kernel for each channel, if all pixels have one factor."""
    return identity_geometry(shape)


GEOMETRY: Mapping[type[Node], Callable[[Any, Shape], Geometry | None]] = {
    Conv2d: conv_geometry,
    SumPool2d: pool_geometry,
    AvgPool2d: pool_geometry,
    Scale: scale_geometry,
}


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution whose unrolled matrix is that of a connection.

    Args:
        geometry: without weights.
        kernel: integers [O, C / groups, kh, kw]; 0 where no place sees a pixel.
    """

    geometry: Geometry
    kernel: Integers


def convolution_of(geometry: Geometry, weights: csr_array) -> Convolution | None:
    """The convolution of `geometry` that unrolls to exactly `weights`.

    None where there is none: neurons of one channel differ, or a geometry that was
    composed has pixels of its own where the chain has padding.

    Args:
        geometry: may be unsound, or of other sizes.
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
    """The kernel, [O, C / groups, kh, kw]: each tap at the first place that sees it."""
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
    """(first place that sees a pixel through each tap, that pixel or -1), [taps]."""
    place = (pixels >= 0).argmax(axis=0)
    return place, pixels[place, np.arange(pixels.shape[1])]


def flat_pixels(geometry: Geometry, y: Integers, x: Integers) -> Integers:
    """Flat index in the source of pixel (y, x), of each target and source channel.

    Args:
        geometry: of which convolution.
        y: int64 [...], -1 for padding.
        x: likewise.

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
    """A matrix of one row per row of `columns`; column -1 (padding) is left out."""
    keep = (columns >= 0) & (data != 0)
    starts = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    matrix = csr_array((data[keep], columns[keep], starts), shape=(len(columns), width))
    matrix.sort_indices()
    return matrix
