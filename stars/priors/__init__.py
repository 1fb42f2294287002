"""Synthesis priors by name: SynthesisState -> scalar that the images minimize.

Holds one file for each paper, and a table of the priors.
Import from it: `PRIORS`, `SynthesisState`.
It may import `stars.losses`, `stars.teacher` and what these may import.
All of it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stars.priors.activation import activation
from stars.priors.adversarial import adversarial
from stars.priors.balance import balance
from stars.priors.batch_norm import batch_norm
from stars.priors.membrane_tail import membrane_tail
from stars.priors.one_hot import one_hot
from stars.priors.relational import relational
from stars.priors.smoothness import l2, total_variation
from stars.priors.state import SynthesisState
from stars.priors.tail import tail

Prior = Callable[..., Tensor]  # (state: SynthesisState, *, options)

PRIORS: dict[str, Prior] = {
    "batch_norm": batch_norm,
    "one_hot": one_hot,
    "adversarial": adversarial,
    "balance": balance,
    "activation": activation,
    "total_variation": total_variation,
    "l2": l2,
    "relational": relational,
    "tail": tail,
    "membrane_tail": membrane_tail,
}

# Priors that read the student's membranes, which must then be recomputed.
READ_MEMBRANES = {"membrane_tail"}
# Priors that read the teacher's BatchNorm statistics.
READ_STATISTICS = {"batch_norm", "tail", "membrane_tail"}

__all__ = ["PRIORS", "READ_MEMBRANES", "READ_STATISTICS", "Prior", "SynthesisState"]
