"""Convolutions as the emulator multiplies them: dense kernels, channels last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stars.graph.nodes import Shape
from stars.graph.nodes.conv import Pair
from stars.grid.convolution import Convolution, Geometry
from targets.loihi.multiplication import Values

WINDOW_COST = 8  # of copying a value into a window, in multiplications of a product


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution of one group, without dilation.

    Args:
        source, target: shapes (C, H, W) and (O, H', W').
        weights: [kh, kw, C, O].
        stride, padding: (vertical, horizontal).
    """

    source: Shape
    target: Shape
    weights: Values
    stride: Pair
    padding: Pair


def extent(geometry: Geometry) -> Pair:
    """(vertical, horizontal) size of the kernel, the gaps of a dilation included."""
    (kh, kw), (dy, dx) = geometry.kernel, geometry.dilation
    return dy * (kh - 1) + 1, dx * (kw - 1) + 1


def cost(geometry: Geometry) -> float:
    """Time for one image, in multiplications of a dense product."""
    out, height, width = geometry.target
    window = math.prod(extent(geometry)) * geometry.source[0]
    return height * width * window * (out + WINDOW_COST)


def dense_kernel(convolution: Convolution) -> Kernel:
    """`convolution` with zeros in the gaps of a dilation and between its groups."""
    geometry, kernel = convolution.geometry, convolution.kernel
    out, each = kernel.shape[:2]
    (dy, dx), channels = geometry.dilation, geometry.source[0]
    weights = np.zeros((*extent(geometry), channels, out), kernel.dtype)
    group = np.arange(out) // (out // geometry.groups)
    inputs = group[:, None] * each + np.arange(each)
    outputs = np.arange(out)[:, None]
    weights[::dy, ::dx][:, :, inputs, outputs] = kernel.transpose(2, 3, 0, 1)
    return Kernel(
        geometry.source, geometry.target, weights, geometry.stride, geometry.padding
    )
