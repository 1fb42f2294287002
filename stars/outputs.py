"""Outputs: what a network's forward pass returns, and all that a loss may see."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """Class scores and features of one batch. An ANN has T = 1.

    Args:
        logits: [T, B, K], the readout's input at each step.
        features: [T, B, F], what the head reads: pooled ReLU features or firing rates.
    """

    logits: Float[Tensor, "T B K"]
    features: Float[Tensor, "T B F"]

    @property
    def mean_logits(self) -> Float[Tensor, "B K"]:
        """Mean over the steps: the readout's last membrane divided by T."""
        return self.logits.mean(0)

    @property
    def mean_features(self) -> Float[Tensor, "B F"]:
        """Mean over the steps."""
        return self.features.mean(0)
