"""Blueprint: a network's topology as data, for both the ANN and the spiking network.

An architecture is a function that returns a Blueprint. `Network` runs it in torch,
with ReLU for the teacher and LIF for the student. `stars.networks.student.to_graph`
turns the same list into a SpikingGraph, without tracing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stars.errors import ConfigError
from stars.graph.nodes.base import Shape

DEEPEST = 1000  # largest number of blocks or convolutions of a network


@dataclass(frozen=True)
class ConvBN:
    """Convolution without bias, then BatchNorm2d; `source` names a layer or "input"."""

    name: str
    source: str
    channels: tuple[int, int]
    kernel: int
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Activation:
    """ReLU or LIF of the sum of its sources; `encodes` marks the first one."""

    name: str
    sources: tuple[str, ...]
    encodes: bool = False


@dataclass(frozen=True)
class AvgPool:
    """Mean over `kernel` x `kernel` windows that do not overlap."""

    name: str
    source: str
    kernel: int


@dataclass(frozen=True)
class Head:
    """Flatten, then a linear layer: the class scores. Always the last layer."""

    name: str
    source: str
    features: int
    classes: int


Layer = ConvBN | Activation | AvgPool | Head


@dataclass(frozen=True)
class Blueprint:
    """Layers in execution order; the first Activation encodes, the last is a Head.

    Args:
        input_shape: (C, H, W) of one image.
        classes: K.
        layers: each reads layers before it.
    """

    input_shape: Shape
    classes: int
    layers: tuple[Layer, ...]


def after(size: int, stride: int) -> int:
    """Length of an image side after a 3 x 3 convolution with padding 1."""
    return (size - 1) // stride + 1


def check_stages(
    architecture: str,
    input_shape: Shape,
    widths: Sequence[int],
    depths: Sequence[int],
    stem_stride: int,
) -> None:
    """Refuse stages of which no network can be built.

    Raises:
        ConfigError: widths and depths differ in length, a value is below 1, there are
            too many blocks, or the images are not square.
    """
    if len(widths) != len(depths) or not widths:
        raise ConfigError(
            f"{architecture}: widths {list(widths)} and depths {list(depths)} must be"
            " of one length, at least 1"
        )
    if min(*widths, *depths, stem_stride) < 1:
        raise ConfigError(
            f"{architecture}: widths, depths and stem_stride must be at least 1"
        )
    if sum(depths) > DEEPEST:
        raise ConfigError(f"{architecture}: depths add up to more than {DEEPEST}")
    if input_shape[1] != input_shape[2]:
        raise ConfigError(f"{architecture}: images must be square, found {input_shape}")
