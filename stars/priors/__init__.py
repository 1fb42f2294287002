"""Synthesis priors by name: a SynthesisState -> scalar to be made small."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stars.priors.adversarial import adversarial
from stars.priors.batch_norm import batch_norm
from stars.priors.one_hot import one_hot
from stars.priors.relational import relational
from stars.priors.state import SynthesisState
from stars.priors.tail import tail

Prior = Callable[..., Tensor]  # (state: SynthesisState, *, options)

PRIORS: dict[str, Prior] = {
    "batch_norm": batch_norm,
    "one_hot": one_hot,
    "adversarial": adversarial,
    "relational": relational,
    "tail": tail,
}

__all__ = ["PRIORS", "Prior", "SynthesisState"]
