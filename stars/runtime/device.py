"""The torch device that a configuration names, and a widening of dtypes."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.errors import ConfigError


def device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: this machine has no such device.
    """
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if "cuda:0" in there:
        there.append("cuda")
    if name not in there:
        raise ConfigError(f"device {name!r} is not available; this machine has {there}")
    return torch.device(name)


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()
