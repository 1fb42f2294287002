"""VGG: a plain sequence of 3 x 3 convolutions and average pooling."""

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


def vgg(
    input_shape: Shape,
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    depths: Sequence[int] = (1, 1, 1),
    stem_stride: int = 1,
) -> Blueprint:
    """A sequential network: stages of ConvBN and activation, 2 x 2 pooling between.

    Args:
        input_shape: (C, H, W), H = W.
        classes: K.
        widths: channels of each stage.
        depths: convolutions of each stage.
        stem_stride: stride of the first convolution.

    Raises:
        ConfigError: widths and depths differ in length, a value is below 1, or a pool
            would have to halve an odd size.

    Source: Simonyan & Zisserman 2015, arXiv:1409.1556, section 2.
    Differs: average instead of max pooling, because no hardware target has a maximum;
        BN; a global mean and one linear layer at the end.
    """
    check_stages("vgg", input_shape, widths, depths, stem_stride)
    layers: list[Layer] = []
    source, channels, size = "input", input_shape[0], input_shape[1]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        if stage > 1:
            if size % 2:
                raise ConfigError(f"vgg: stage {stage} would have to halve {size} px")
            layers.append(AvgPool(f"pool{stage - 1}", source, 2))
            source, size = f"pool{stage - 1}", size // 2
        for i in range(1, depth + 1):
            stride = stem_stride if source == "input" else 1
            conv, act = f"s{stage}_conv{i}", f"s{stage}_act{i}"
            layers.append(ConvBN(conv, source, (channels, width), 3, stride, 1))
            layers.append(Activation(act, (conv,), encodes=source == "input"))
            source, channels, size = act, width, after(size, stride)
    layers.append(AvgPool("pool", source, size))
    layers.append(Head("head", "pool", channels, classes))
    return Blueprint(input_shape, classes, tuple(layers))
