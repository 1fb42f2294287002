"""Links: the connections of a network in C, with their kernels and weights.

A matrix is a convolution of one pixel. A pool that the plan composed into a kernel or
matrix repeats its weights; they are stored once.

There are three kernels. "event" adds the weights of each value that is not 0, "dense"
multiplies all values, and "sparse" is an event kernel with an index for each weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.graph.nodes import Shape
from stars.grid.convolution import Convolution, Geometry
from stars.grid.plan import Connection

Array = NDArray[Any]

# Time for a multiplication in benchmarks/c_speed.py, relative to one of an event kernel
# in a vector of 16.
VECTOR = 16
SINGLE = 4  # outside vectors
DENSE = 2  # in a dense kernel


@dataclass(frozen=True, eq=False)
class Link:
    """One connection.

    Args:
        source: number of the layer it reads; -1 for the input.
        kernel: "event", "dense" or "sparse".
        arrays: by the end of its name, its type and values.
        numbers: fields of the C struct between the arrays and the axes.
        axes: fields of the two axes, vertical first; none if sparse.
    """

    source: int
    kernel: str
    arrays: Mapping[str, tuple[str, Array]]
    numbers: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...] = ()


def channels_last(shape: Shape) -> Array:
    """Place in C order of each neuron in the order row, column, channel."""
    order = np.arange(math.prod(shape))
    if len(shape) != 3:
        return order
    return np.moveaxis(order.reshape(shape), 0, -1).ravel()


def link_of(
    connection: Connection,
    number: int,
    source: Shape,
    target: Shape,
    scale: int,
    rate: float,
) -> Link:
    """A connection with the kernel that is best at this rate of its source."""
    found = connection.convolution
    if found is None:
        weights = in_stored_order(connection.weights, source, target, number)
        entries, size = weights.nnz, math.prod(weights.shape)
        pooled = pooled_matrix(connection.weights, source, target)
        if pooled is not None:
            found = pooled
        elif entries * 3 + 4 * weights.shape[1] < size:
            return sparse_link(weights, number, scale)
        else:
            rows, columns = weights.shape
            geometry = Geometry((columns, 1, 1), (rows, 1, 1), (1, 1))
            kernel = weights.toarray().reshape(rows, columns, 1, 1)
            return dense_or_event(
                Convolution(geometry, kernel), number, scale, rate, flat=True
            )
    return dense_or_event(found, number, scale, rate, flat=False)


def in_stored_order(
    weights: csr_array, source: Shape, target: Shape, number: int
) -> csr_array:
    """The matrix with rows, and columns unless they are the input's, as stored."""
    rows = weights[channels_last(target)]
    return csr_array(rows if number < 0 else rows[:, channels_last(source)])


def pooled_matrix(
    weights: csr_array, source: Shape, target: Shape
) -> Convolution | None:
    """A matrix on pixels that a pool repeats, as a convolution; else None."""
    if len(source) != 3 or math.prod(source[1:]) == 1 or len(target) != 1:
        return None
    kernel = weights.toarray().reshape(target[0], *source)
    if repeats(kernel, 2) * repeats(kernel, 3) == 1:
        return None
    geometry = Geometry(source, (target[0], 1, 1), source[1:3])
    return Convolution(geometry, kernel)


def repeats(kernel: Array, axis: int) -> int:
    """The largest n such that each n neighboring taps of an axis are equal."""
    size = kernel.shape[axis]
    for n in range(size, 1, -1):
        if size % n == 0:
            parts = np.take(kernel, range(0, size, n), axis)
            if (np.repeat(parts, n, axis) == kernel).all():
                return n
    return 1


def dense_or_event(
    found: Convolution, number: int, scale: int, rate: float, *, flat: bool
) -> Link:
    """A convolution with the kernel that is best at this rate.

    Args:
        found: the convolution.
        number: of the layer it reads.
        scale: factor of its weights.
        rate: of its source; infinity forces a dense kernel.
        flat: whether it is a matrix on a source of any shape.
    """
    geometry, kernel = found.geometry, found.kernel
    channels, height, width = geometry.source
    one_row = number < 0 and channels > 1 and not flat  # the input is in C order
    step = (width, 1, height * width) if one_row else (width * channels, channels, 1)
    repeat = repeats(kernel, 2), repeats(kernel, 3)
    fits = geometry.groups == 1 and geometry.dilation[1] == 1 and not one_row
    if fits and repeat == (1, 1):
        out, taps = geometry.target[0], geometry.kernel[1]
        event = out * (taps if geometry.stride[1] == 1 else 1)
        if rate * cost(event) > DENSE * cost(taps * channels):
            return dense_link(found, number, scale, step)
    return event_link(found, number, scale, step, repeat)


def cost(length: int) -> float:
    """Time for each value of a row of this length; 1 in vectors."""
    return 1 + (SINGLE - 1) * (length % VECTOR) / length


def dense_link(
    found: Convolution, number: int, scale: int, step: tuple[int, int, int]
) -> Link:
    """Weights [O, kh, kw, C]."""
    geometry = found.geometry
    channels, (out, *_) = geometry.source[0], geometry.target
    row = geometry.kernel[1] * channels
    weights = found.kernel.transpose(0, 2, 3, 1)
    return Link(
        number,
        "dense",
        {"weights": ("int8_t", weights.ravel())},
        (channels, channels, out, step[2], geometry.kernel[0] * row, scale, 0, 0),
        axes_of(geometry, (1, 1), step, (row, channels)),
    )


def event_link(
    found: Convolution,
    number: int,
    scale: int,
    step: tuple[int, int, int],
    repeat: tuple[int, int],
) -> Link:
    """Weights [C, kh, kw, O / groups]; kw is mirrored if its taps form one run."""
    geometry, kernel = found.geometry, found.kernel
    (down, right), channels = repeat, geometry.source[0]
    each, count = channels // geometry.groups, geometry.target[0] // geometry.groups
    merged = geometry.groups == geometry.stride[1] == geometry.dilation[1] == right == 1
    kernel = kernel[:, :, ::down, ::right]
    if merged:
        kernel = kernel[:, :, :, ::-1]
    # [groups, count, each, kh, kw] -> [groups, each, kh, kw, count]
    apart = kernel.reshape(geometry.groups, count, *kernel.shape[1:])
    weights = apart.transpose(0, 2, 3, 4, 1)
    row = kernel.shape[3] * count
    return Link(
        number,
        "event",
        {"weights": ("int8_t", weights.ravel())},
        (
            channels,
            each,
            count,
            step[2],
            kernel.shape[2] * row,
            scale,
            int(merged),
            int(geometry.groups > 1),
        ),
        axes_of(geometry, repeat, step, (row, count)),
    )


def axes_of(
    geometry: Geometry,
    repeat: tuple[int, int],
    step: tuple[int, ...],
    weights: tuple[int, int],
) -> tuple[tuple[int, ...], ...]:
    """The fields of both axes; see `struct axis` in the template."""
    out, _, wide = geometry.target
    return tuple(
        (
            geometry.source[1 + axis],
            geometry.target[1 + axis],
            geometry.kernel[axis],
            geometry.stride[axis],
            geometry.padding[axis],
            geometry.dilation[axis],
            repeat[axis],
            step[axis],
            (wide * out, out)[axis],
            weights[axis],
        )
        for axis in (0, 1)
    )


def sparse_link(weights: csr_array, number: int, scale: int) -> Link:
    """The entries of each source, with their targets."""
    columns = weights.tocsc()
    columns.sort_indices()
    index = "uint16_t" if weights.shape[0] <= 2**16 else "uint32_t"
    arrays = {
        "weights": ("int8_t", columns.data),
        "targets": (index, columns.indices),
        "starts": ("uint32_t", columns.indptr),
    }
    return Link(number, "sparse", arrays, (weights.shape[1], scale))
