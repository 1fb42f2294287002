"""The torch device that a configuration names, if it is there."""

from __future__ import annotations

import ctypes
import platform

import torch
from torch import Tensor

from stars.errors import ConfigError

MALLOC = {  # of mallopt(3): its number and our value
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 2**28),
}


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


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the tensors of the next step.

    Each step frees and asks for the same large tensors. By default glibc gives them
    back to the system every time, and their pages are cleared anew: a third of the
    time of a pass. For the whole process; nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in MALLOC.values():
        mallopt(parameter, value)
