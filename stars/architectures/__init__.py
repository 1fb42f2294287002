"""Architectures by name: one builder makes the ANN teacher and the spiking student."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stars.architectures.blueprint import Blueprint
from stars.architectures.resnet import resnet
from stars.architectures.vgg import vgg
from stars.errors import ConfigError
from stars.nodes.base import Shape

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
            value that the builder refuses.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"architecture {name!r} is unknown; there are {sorted(ARCHITECTURES)}"
        )
    builder = ARCHITECTURES[name]
    allowed = [
        p.name
        for p in inspect.signature(builder).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(
            f"architecture {name!r} has no option {unknown}; it has {allowed}"
        )
    if len(input_shape) != 3 or classes < 2:
        raise ConfigError(
            f"architecture {name!r} needs images (C, H, W) and at least 2 classes,"
            f" found {input_shape} and {classes}"
        )
    return builder(tuple(input_shape), classes, **options)
