"""Break: one reason why a target may compute other bits than the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "plan", "current", "membrane", "truncation", "float32 bits", "float32 range"
]


@dataclass(frozen=True)
class Break:
    """One bound that a run exceeds.

    Args:
        kind: the bound; "plan" if the graph has no integer plan.
        where: a population, a node or the input; "" if the message names it.
        message: what was found and what is allowed.
        step: the first step, from 1, at which it is exceeded.
    """

    kind: Kind
    where: str
    message: str
    step: int = 1

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message
