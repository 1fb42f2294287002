"""The conversion of each NIR primitive to a node: `FROM_NIR`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import nir
import numpy as np

from export.nir_shapes import spread
from stars.errors import FormatError
from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Affine,
    Array,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLI,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    Scale,
    Shape,
    SumPool2d,
    Threshold,
)

WIDEST = 2**12  # pixels of padding at most


@dataclass(frozen=True)
class Place:
    """Where a node stands in its graph.

    Args:
        dt: seconds per step.
        shape: of the value that arrives; None if it is unknown.
        ours: entries of this toolchain about the node.
        batch: whether the file's shapes have a batch axis.
    """

    dt: float
    shape: Shape | None
    ours: Mapping[str, Any]
    batch: bool


def input_shape(node: nir.Input) -> Shape:
    """The shape of an Input."""
    return tuple(int(n) for n in node.input_type["input"])


def both(value: Any, name: str) -> tuple[int, int]:
    """One or two integers as (vertical, horizontal)."""
    numbers = [int(n) for n in np.atleast_1d(value)]
    if len(numbers) not in {1, 2} or not np.array_equal(numbers, np.atleast_1d(value)):
        raise FormatError(f"{name} is {value}, expected one or two integers")
    return numbers[0], numbers[-1]


def one(value: Any, name: str) -> int:
    """An integer, or the only entry of an array."""
    both_ends = both(value, name)
    if both_ends[0] != both_ends[1] or np.size(value) != 1:
        raise FormatError(f"{name} is {value}, expected one integer")
    return both_ends[0]


def _input(node: nir.Input, place: Place) -> Input:
    return Input(input_shape(node)[place.batch :])


def _output(_: nir.Output, __: Place) -> Output:
    return Output()


def _linear(node: nir.Linear, _: Place) -> Affine:
    return Affine(node.weight, np.zeros(len(node.weight)))


def _conv1d(node: nir.Conv1d, _: Place) -> Conv1d:
    stride, dilation = one(node.stride, "stride"), one(node.dilation, "dilation")
    weight, padding = np.asarray(node.weight, dtype=np.float64), 0
    if not isinstance(node.padding, str):
        padding = one(node.padding, "padding")
    elif node.padding == "same":
        wide, paddings, dilations = same_padding(
            weight[:, :, None], (1, stride), (1, dilation)
        )
        weight, padding, dilation = wide[:, :, 0], paddings[1], dilations[1]
    return Conv1d(weight, node.bias, stride, padding, dilation, int(node.groups))


def _conv2d(node: nir.Conv2d, _: Place) -> Conv2d:
    stride, dilation = both(node.stride, "stride"), both(node.dilation, "dilation")
    weight, padding = np.asarray(node.weight, dtype=np.float64), (0, 0)
    if not isinstance(node.padding, str):
        padding = both(node.padding, "padding")
    elif node.padding == "same":
        weight, padding, dilation = same_padding(weight, stride, dilation)
    return Conv2d(weight, node.bias, stride, padding, dilation, int(node.groups))


def same_padding(
    weight: Array, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Array, tuple[int, int], tuple[int, int]]:
    """(Weight, padding, dilation) of the same map with symmetric padding.

    padding = "same" adds d (k - 1) zeros along each axis, an odd one at the end. If
    that number is odd, the dilation is written out as zero taps (and becomes 1), and
    one more zero tap goes in front. Then both ends need the same padding.

    Raises:
        FormatError: the stride is not 1, where "same" is not defined, or the padding is
            too wide.
    """
    if stride != (1, 1):
        raise FormatError(f"padding 'same' needs stride 1, found {stride}")
    paddings, dilations = [], []
    for axis, d in ((2, dilation[0]), (3, dilation[1])):
        total = d * (weight.shape[axis] - 1)
        if not 0 <= total < WIDEST:
            raise FormatError(f"padding 'same' with dilation {d} would pad {total} px")
        if total % 2:
            weight = with_leading_zero(weight, axis, d)
        paddings.append((total + 1) // 2)
        dilations.append(1 if total % 2 else d)
    return weight, (paddings[0], paddings[1]), (dilations[0], dilations[1])


def with_leading_zero(weight: Array, axis: int, dilation: int) -> Array:
    """`weight` with the dilation along `axis` written out, after one zero tap."""
    taps = weight.shape[axis]
    shape = list(weight.shape)
    shape[axis] = dilation * (taps - 1) + 2
    dense = np.zeros(shape)
    place: list[slice | range] = [slice(None)] * 4
    place[axis] = slice(1, None, dilation)
    dense[tuple(place)] = weight
    return dense


def _sum_pool2d(node: nir.SumPool2d, _: Place) -> SumPool2d:
    return SumPool2d(*_window(node))


def _avg_pool2d(node: nir.AvgPool2d, _: Place) -> AvgPool2d:
    return AvgPool2d(*_window(node))


def _window(
    node: nir.SumPool2d | nir.AvgPool2d,
) -> tuple[tuple[int, int], tuple[int, int]]:
    padding = both(node.padding, "padding")
    if padding != (0, 0):
        raise FormatError(f"pools with padding {padding}; only padding 0 is supported")
    return both(node.kernel_size, "kernel_size"), both(node.stride, "stride")


def _flatten(node: nir.Flatten, place: Place) -> Flatten:
    shape = node.input_type["input"]
    last = {-1} if shape is None else {-1, len(shape) - 1}
    # Behind a batch axis, the first axis of a sample is 1.
    if int(node.start_dim) not in {0, place.batch} or int(node.end_dim) not in last:
        raise FormatError(
            f"flattens axes {node.start_dim} to {node.end_dim}; only all axes (0 to -1)"
            " are supported, because shapes in NIR have no batch axis"
        )
    return Flatten()


def _delay(node: nir.Delay, place: Place) -> Delay:
    return Delay.of_seconds(spread(node.delay, place.shape), place.dt)


def _affine(node: nir.Affine, _: Place) -> Affine:
    return Affine(node.weight, node.bias)


def population(kind: type[Node]) -> Callable[[nir.NIRNode, Place], Node]:
    """The conversion of a primitive whose parameters have the population's shape."""
    names = [field.name for field in fields(kind) if field.name != "membrane_step"]

    def convert(node: nir.NIRNode, place: Place) -> Node:
        return kind(**{n: spread(getattr(node, n), place.shape) for n in names})

    return convert


def leaky(kind: type[LIF | CubaLIF]) -> Callable[[nir.NIRNode, Place], Node]:
    """As `population`, with the membrane's step from our metadata, if it is there."""
    plain = population(kind)

    def convert(node: nir.NIRNode, place: Place) -> Node:
        step, found = place.ours.get("membrane_step"), plain(node, place)
        if step is not None and isinstance(found, LIF | CubaLIF):
            found = replace(found, membrane_step=float(step))
        return found

    return convert


# Each entry takes a primitive of its own type, which the type cannot express.
FROM_NIR: Mapping[type[nir.NIRNode], Callable[[Any, Place], Node]] = {
    nir.Input: _input,
    nir.Output: _output,
    nir.Affine: _affine,
    nir.Linear: _linear,
    nir.Conv1d: _conv1d,
    nir.Conv2d: _conv2d,
    nir.SumPool2d: _sum_pool2d,
    nir.AvgPool2d: _avg_pool2d,
    nir.Flatten: _flatten,
    nir.Scale: population(Scale),
    nir.Delay: _delay,
    nir.Threshold: population(Threshold),
    nir.IF: population(IF),
    nir.LIF: leaky(LIF),
    nir.CubaLIF: leaky(CubaLIF),
    nir.LI: population(LI),
    nir.CubaLI: population(CubaLI),
    nir.I: population(Integrator),
}
