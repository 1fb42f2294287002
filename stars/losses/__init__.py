"""Distillation losses by name: student's and teacher's Outputs -> scalar."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stars.losses.kl import kl

Loss = Callable[..., Tensor]  # (student: Outputs, teacher: Outputs, *, options)

LOSSES: dict[str, Loss] = {
    "kl": kl,
}
