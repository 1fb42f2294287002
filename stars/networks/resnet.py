"""ResNet of basic blocks for small images: 3 x 3 stem, no max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from stars.errors import ConfigError
from stars.graph.nodes.base import Shape
from stars.networks.blueprint import (
    Activation,
    AvgPool,
    Blueprint,
    ConvBN,
    Head,
    Layer,
    after,
    check_stages,
)


def resnet(
    input_shape: Shape,
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    depths: Sequence[int] = (1, 1, 1),
    stem_stride: int = 1,
    stem_width: int | None = None,
) -> Blueprint:
    """A residual network; every stage after the first halves height and width.

        block:  y = act(BN(conv(act(BN(conv(x))))) + shortcut(x))

    The shortcut is the identity, or a 1 x 1 ConvBN where the shape changes. Both
    currents enter one activation. Global average pooling and a linear head follow.

    Args:
        input_shape: (C, H, W).
        classes: K.
        widths: channels of each stage.
        depths: blocks of each stage; (1, 1, 1) is ResNet-8, (2, 2, 2, 2) ResNet-18.
        stem_stride: stride of the first convolution; 2 quarters the work.
        stem_width: channels of the first convolution; None for the first stage's.

    Raises:
        ConfigError: widths and depths differ in length, or a value is below 1.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2 (networks for CIFAR-10);
        stem_width: Zagoruyko & Komodakis 2016 (WRN), arXiv:1605.07146, table 1.
    Differs: projection shortcuts (option B) instead of zero padding. Our WRN has its
        activations after BN and sum, as a ResNet, not before the convolutions. Only in
        this order does BN fold into the convolution before it, and do the teacher's BN
        layers read convolutions, as the student's do. No dropout.
    """
    check_stages("resnet", input_shape, widths, depths, stem_stride)
    channels = widths[0] if stem_width is None else stem_width
    if channels < 1:
        raise ConfigError(f"resnet: stem_width is {stem_width}, expected at least 1")
    layers: list[Layer] = [
        ConvBN("stem", "input", (input_shape[0], channels), 3, stem_stride, 1),
        Activation("stem_act", ("stem",), encodes=True),
    ]
    source, size = "stem_act", after(input_shape[1], stem_stride)
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        for block in range(1, depth + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            layers += basic_block(
                f"s{stage}b{block}", source, (channels, width), stride
            )
            source, channels = f"s{stage}b{block}_act2", width
            size = after(size, stride)
    layers.append(AvgPool("pool", source, size))
    layers.append(Head("head", "pool", channels, classes))
    return Blueprint(input_shape, classes, tuple(layers))


def basic_block(
    name: str, source: str, channels: tuple[int, int], stride: int
) -> list[Layer]:
    """The layers of one basic block that reads `source`."""
    width = channels[1]
    same = stride == 1 and channels[0] == width
    shortcut = source if same else f"{name}_shortcut"
    layers: list[Layer] = [
        ConvBN(f"{name}_conv1", source, channels, 3, stride, 1),
        Activation(f"{name}_act1", (f"{name}_conv1",)),
        ConvBN(f"{name}_conv2", f"{name}_act1", (width, width), 3, 1, 1),
    ]
    if not same:
        layers.append(ConvBN(shortcut, source, channels, 1, stride))
    return [*layers, Activation(f"{name}_act2", (f"{name}_conv2", shortcut))]
