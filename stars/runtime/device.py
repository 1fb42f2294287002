"""The torch device that a configuration names, if it is there."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.errors import ConfigError


def device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: no such kind of device, or none of it in this machine.
    """
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if "cuda:0" in there:
        there.append("cuda")
    if name not in there:
        raise ConfigError(f"device {name!r} is not there; this machine has {there}")
    return torch.device(name)


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if that is what it is."""
    return x if x.dtype == torch.float64 else x.float()
