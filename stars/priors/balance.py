"""Balance: the teacher predicts every class equally often in a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.priors.state import SynthesisState
from stars.runtime.device import wide


def balance(state: SynthesisState) -> Tensor:
    """Minus the entropy of the teacher's mean class probabilities.

    L = sum_k pbar_k log pbar_k,  pbar = mean_b softmax(v_b)

    Returns:
        Scalar in -log K..0, nats; smallest if the classes are equally likely.

    Source: Chen et al. 2019 (DAFL), arXiv:1904.01186, the information entropy loss.
    """
    mean = torch.softmax(wide(state.teacher.mean_logits), 1).mean(0)
    return torch.xlogy(mean, mean.clamp(min=1e-30)).sum()
