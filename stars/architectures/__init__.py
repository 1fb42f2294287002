"""Architectures by name: one builder makes the ANN teacher and the spiking student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stars.architectures.blueprint import Blueprint
from stars.architectures.resnet import resnet
from stars.architectures.vgg import vgg
from stars.errors import ConfigError
from stars.nodes.base import Shape
from stars.options import checked_options

ARCHITECTURES: dict[str, Callable[..., Blueprint]] = {
    "resnet": resnet,
    "vgg": vgg,
}


def blueprint(
    name: str, input_shape: Shape, classes: int, options: Mapping[str, Any]
) -> Blueprint:
    """The blueprint of the named architecture.

    Raises:
        ConfigError: unknown name or option (the message lists what there is), or a
            value of another type or that the builder refuses.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"architecture {name!r} is unknown; there are {sorted(ARCHITECTURES)}"
        )
    builder = ARCHITECTURES[name]
    checked = checked_options(builder, options, f"architecture {name!r}")
    if len(input_shape) != 3 or min(input_shape) < 1 or classes < 2:
        raise ConfigError(
            f"architecture {name!r} needs images (C, H, W) and at least 2 classes,"
            f" found {input_shape} and {classes}"
        )
    return builder(tuple(input_shape), classes, **checked)
