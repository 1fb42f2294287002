"""The torch device that a configuration names, and its dtypes."""

from __future__ import annotations

import platform
from typing import Any

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


def bf16_pays(place: torch.device) -> bool:
    """Whether a device computes bfloat16 faster than float32.

    x86 processors without AVX-512 BF16 and AMX emulate it, and their convolutions then
    take about ten times as long.
    """
    if place.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or unchanged if it is float64."""
    return x if x.dtype == torch.float64 else x.float()
