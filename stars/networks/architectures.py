"""Architectures by name: one builder makes the ANN teacher and the spiking student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stars.config.options import checked_options
from stars.errors import ConfigError, guess
from stars.graph.nodes.base import Shape
from stars.networks.blueprint import Blueprint
from stars.networks.resnet import resnet
from stars.networks.vgg import vgg

ARCHITECTURES: dict[str, Callable[..., Blueprint]] = {
    "resnet": resnet,
    "vgg": vgg,
    # The others are these two with other defaults; every option can still be set.
    "resnet8": partial(resnet, widths=(16, 32, 64), depths=(1, 1, 1)),
    "resnet20": partial(resnet, widths=(16, 32, 64), depths=(3, 3, 3)),
    "resnet18": partial(resnet, widths=(64, 128, 256, 512), depths=(2, 2, 2, 2)),
    "resnet34": partial(resnet, widths=(64, 128, 256, 512), depths=(3, 4, 6, 3)),
    "vgg11": partial(vgg, widths=(64, 128, 256, 512, 512), depths=(1, 1, 2, 2, 2)),
    "wrn16-2": partial(resnet, widths=(32, 64, 128), depths=(2, 2, 2), stem_width=16),
    "wrn40-2": partial(resnet, widths=(32, 64, 128), depths=(6, 6, 6), stem_width=16),
}


def blueprint(
    name: str, input_shape: Shape, classes: int, options: Mapping[str, Any]
) -> Blueprint:
    """The blueprint of the named architecture.

    Raises:
        ConfigError: unknown name or option (the message lists the known ones), or a
            value that has another type or that the builder refuses.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"architecture {name!r} is unknown{guess(name, ARCHITECTURES)}; there are"
            f" {sorted(ARCHITECTURES)}"
        )
    builder = ARCHITECTURES[name]
    checked = checked_options(builder, options, f"architecture {name!r}")
    if len(input_shape) != 3 or min(input_shape) < 1 or classes < 2:
        raise ConfigError(
            f"architecture {name!r} needs images (C, H, W) and at least 2 classes,"
            f" found {input_shape} and {classes}"
        )
    return builder(tuple(input_shape), classes, **checked)
