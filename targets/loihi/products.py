"""Products of a connection's weights and values: dense, sparse or as a convolution.

Values are [..., N]; populations of pixels are in channels-last order, (H, W, C). In
this order the pixels under a row of a kernel are contiguous, so a convolution is one
matrix product of copied windows. Spikes can go through torch's 8-bit convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.sparse import csr_array

from stars.graph.nodes import Shape
from stars.grid.convolution import Convolution as Unrolled
from stars.grid.exact import Integers
from targets.loihi import onednn
from targets.loihi.convolutions import Kernel, cost, dense_kernel
from targets.loihi.multiplication import Arithmetic, Multiply, Values, multiplication

SPARSE_COST = 24  # of one entry, in multiplications of a dense product
DENSE_LIMIT = 2**26  # entries of a dense matrix: 256 MB
WINDOW_BYTES = 2**20  # of windows copied at a time, so that they stay in the cache


class Product(Protocol):
    """Weights in a form that is fast to multiply with."""

    def __call__(self, x: Values) -> Values:
        """The product for x [..., N source] of any type -> [..., N target]."""


def product_of(
    weights: csr_array,
    source: Shape,
    target: Shape,
    form: Arithmetic,
    convolution: Unrolled | None = None,
) -> Product:
    """The fastest form of `weights`.

    Args:
        weights: integers [N target, N source], both in (C, H, W) order.
        source: shape of the population that the values come from.
        target: shape of the population that they go to.
        form: arithmetic of the product.
        convolution: the one that unrolls to `weights`, if known.
    """
    size = math.prod(weights.shape)
    costs: dict[type[Product], float] = {Sparse: SPARSE_COST * weights.nnz}
    if size <= DENSE_LIMIT:
        costs[Dense] = size
    if convolution is not None:
        costs[Convolution] = cost(convolution.geometry)
    best = min(costs, key=lambda form: costs[form])
    if convolution is not None and best is Convolution:
        return convolution_product(dense_kernel(convolution), form)
    ordered = weights[channels_last(target)][:, channels_last(source)]
    if best is Dense:
        return Dense(target, multiplication(ordered.toarray().T, form), form.kind)
    return Sparse(ordered.astype(form.kind) * form.kind(form.factor))


def convolution_product(kernel: Kernel, form: Arithmetic) -> Product:
    """A convolution by oneDNN where that works, else by copied windows.

    Args:
        kernel: of the convolution.
        form: arithmetic of the product.
    """
    matrix = kernel.weights.reshape(-1, kernel.target[0])
    windows = Convolution(kernel, multiplication(matrix, form), form.kind)
    return onednn.convolution(kernel, form, windows) or windows


def channels_last(shape: Shape) -> Integers:
    """The index in (C, H, W) order of each value in (H, W, C) order, [N]."""
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
        """The pixels under the kernel at each place, [B H' W', kh kw C], a copy."""
        kernel = self.kernel
        kh, kw, channels, _ = kernel.weights.shape
        (sy, sx), (top, left) = kernel.stride, kernel.padding
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
