"""The products of the emulator: a connection's matrix times values, by BLAS if it pays.

Values are [..., N], populations of pixels in channels-last order, (H, W, C): there all
that is under a row of a kernel lies together, and a convolution is one matrix product
of copied windows. A plan holds the unrolled matrix alone; whether that is a convolution
is found out here, and proven entry by entry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from stars.nodes import Shape
from targets.loihi_matrix import Arithmetic, Multiply, Values, multiplication

Places = NDArray[np.int64]

SPARSE_COST = 24  # of an entry, in multiplications of a dense product
WINDOW_COST = 8  # of copying a value into a window, likewise
DENSE_LIMIT = 2**26  # entries of a dense matrix: 256 MB
WINDOW_BYTES = 2**20  # of windows copied at a time: they stay in the cache


class Product(Protocol):
    """Weights that were brought into a form that is quick to multiply with."""

    def __call__(self, x: Values) -> Values:
        """The product for x [..., N source] of any type -> [..., N target]."""


def product_of(
    weights: csr_array, source: Shape, target: Shape, form: Arithmetic
) -> Product:
    """The quickest form of `weights`.

    Args:
        weights: integers [N target, N source], both in (C, H, W) order.
        source: shape of the population that the values come from.
        target: of the one that they go to.
        form: what is computed with.
    """
    size = math.prod(weights.shape)
    costs: dict[type[Product], float] = {Sparse: SPARSE_COST * weights.nnz}
    if size <= DENSE_LIMIT:
        costs[Dense] = size
    kernel = find_kernel(weights, source, target)
    if kernel is not None:
        costs[Convolution] = kernel.cost
    best = min(costs, key=lambda form: costs[form])
    if kernel is not None and best is Convolution:
        matrix = kernel.weights.reshape(-1, target[0])
        return Convolution(kernel, multiplication(matrix, form), form.kind)
    ordered = weights[channels_last(target)][:, channels_last(source)]
    if best is Dense:
        return Dense(target, multiplication(ordered.toarray().T, form), form.kind)
    return Sparse(ordered.astype(form.kind) * form.kind(form.factor))


def channels_last(shape: Shape) -> Places:
    """Where each value of (H, W, C) order stands in (C, H, W) order, [N]."""
    places = np.arange(math.prod(shape)).reshape(shape)
    return np.moveaxis(places, 0, -1).ravel() if len(shape) == 3 else places.ravel()


@dataclass(frozen=True, eq=False)
class Dense:
    """One matrix product, to a population of shape `target` and values of `kind`."""

    target: Shape
    multiply: Multiply
    kind: type[np.floating[Any]]

    def __call__(self, x: Values) -> Values:
        """See `Product`."""
        rows = x.reshape(-1, x.shape[-1])
        out = np.empty((len(rows), math.prod(self.target)), self.kind)
        self.multiply(rows, out)
        return out.reshape(*x.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class Sparse:
    """A sparse product; the batch is its dense columns."""

    matrix: csr_array

    def __call__(self, x: Values) -> Values:
        """See `Product`."""
        columns = x.reshape(-1, x.shape[-1]).T.astype(self.matrix.dtype, order="C")
        return np.asarray(self.matrix @ columns).T.reshape(*x.shape[:-1], -1)


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


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution as one matrix product for a few images at a time."""

    kernel: Kernel
    multiply: Multiply
    kind: type[np.floating[Any]]

    def __call__(self, x: Values) -> Values:
        """See `Product`."""
        kernel = self.kernel
        channels, height, width = kernel.source
        images = x.reshape(-1, height, width, channels)
        places = kernel.target[1] * kernel.target[2]
        window = kernel.weights[..., 0].size * x.dtype.itemsize
        count = max(1, WINDOW_BYTES // (places * window))
        out = np.empty((len(images), places, kernel.target[0]), self.kind)
        for start in range(0, len(images), count):
            part = slice(start, start + count)
            rows = self.windows(images[part])
            self.multiply(rows, out[part].reshape(len(rows), -1))
        return out.reshape(*x.shape[:-1], -1)

    def windows(self, images: Values) -> Values:
        """What is under the kernel at each place, [B H' W', kh kw C], a copy."""
        kernel = self.kernel
        kh, kw, channels, _ = kernel.weights.shape
        (sy, sx), (top, left) = kernel.stride, kernel.before
        _, rows, columns = kernel.target
        count, height, width, _ = images.shape
        reach = sy * (rows - 1) + kh, sx * (columns - 1) + kw
        padded = np.zeros(
            (count, max(top + height, reach[0]), max(left + width, reach[1]), channels),
            images.dtype,
        )
        padded[:, top : top + height, left : left + width] = images
        image, down, right, one = padded.strides
        view = as_strided(
            padded,
            (count, rows, columns, kh, kw * channels),
            (image, sy * down, sx * right, down, one),
            writeable=False,
        )
        return view.reshape(count * rows * columns, -1)


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
