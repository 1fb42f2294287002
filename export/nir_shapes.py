"""Shapes that NIR files of other tools leave out: parameters that writers broadcast.

Some writers store a neuron's parameters as scalars, as one value, or as [C, 1, 1]. Some
keep the batch axis of the sample that they traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from stars.graph.nodes import Shape

# Fields that a file may lack, because an older NIR did not have them.
ABSENT: Mapping[str, Mapping[str, Any]] = {
    "Conv1d": {"input_shape": None},
    "Conv2d": {"input_shape": None},
}
# nir refuses these if their parameters differ in shape.
POPULATIONS: Mapping[str, tuple[str, ...]] = {
    kind.__name__: tuple(field.name for field in fields(kind))
    for kind in (nir.IF, nir.LIF, nir.LI, nir.CubaLI, nir.CubaLIF)
}


def completed(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node from HDF5 with the fields that it lacks, and parameters of one shape."""
    kind = str(node["type"])
    names = [name for name in POPULATIONS.get(kind, ()) if is_number(node.get(name))]
    shape = joint_shape([np.shape(node[name]) for name in names])
    spreads = {name: spread(node[name], shape) for name in names}
    return {**ABSENT.get(kind, {}), **node, **spreads}


def is_number(value: Any) -> bool:
    """Whether a value is a number or an array of numbers."""
    return value is not None and np.asarray(value).dtype.kind in "biuf"


def joint_shape(shapes: list[Shape]) -> Shape:
    """The shape to which all broadcast if they agree; else the first that is largest.

    Scalars and single values go with every shape. All others need the same number of
    axes, because (C,) does not say which axis of (C, H, W) it means.
    """
    longest = max(shapes, key=lambda s: (np.prod(s), len(s)), default=())
    same = [s for s in shapes if len(s) == len(longest)]
    try:
        return np.broadcast_shapes(*same)
    except ValueError:
        return longest


def spread(value: Any, shape: Shape | None) -> NDArray[Any]:
    """`value` broadcast to `shape`; unchanged if it does not fit.

    A single value fits every shape. An array fits if each of its axes has 1 or all
    values; leading axes of 1 too many are dropped.

    Args:
        value: a number or an array.
        shape: of the population; None if it is unknown.
    """
    array = np.asarray(value)
    if shape is None:
        return np.atleast_1d(array)
    if array.size == 1:
        return np.broadcast_to(array.reshape(()), shape)
    surplus = max(array.ndim - len(shape), 0)
    if array.shape[:surplus] == (1,) * surplus:
        array = array.reshape(array.shape[surplus:])
    fits = array.ndim == len(shape) and all(
        n in (1, m) for n, m in zip(array.shape, shape, strict=True)
    )
    return np.broadcast_to(array, shape) if fits else array
