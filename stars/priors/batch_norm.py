"""BN: the batch statistics of synthetic images match the teacher's running ones."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.priors.state import SynthesisState
from stars.runtime.compiling import kernel
from stars.runtime.device import wide


def batch_norm(state: SynthesisState) -> Tensor:
    """Distance of the batch's channel statistics from the teacher's running ones.

    L = sum_l |mean(a_l) - mu_l|_2 + |var(a_l) - sigma^2_l|_2

    a_l is the input of BatchNorm layer l; mean and biased variance are over B, H, W.

    Returns:
        Scalar >= 0; 0 iff both statistics of every layer agree.

    Source: Yin et al. 2020, arXiv:1912.08795, the term R_feature.
    Differs: norms are not squared, as in the authors' code.
    """
    terms = []
    for tap in state.taps:
        mean, variance = tap.layer.running_mean, tap.layer.running_var
        if mean is None or variance is None:
            continue
        moments = kernel(gap_moments, tap.inputs.dtype, fused=tap.fused)
        found = torch.stack(moments(tap.inputs, mean))
        gap_mean, gap_square = tap.mean_over_batch(found)
        batch_variance = gap_square - gap_mean.square()
        terms.append(gap_mean.norm() + (batch_variance - variance).norm())
    return torch.stack(terms).sum()


def gap_moments(inputs: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of a - `mean` and of its square, for each channel of a [B, C, H, W].

    They are taken about the running mean, which avoids cancellation in the variance.
    """
    gap = wide(inputs) - mean[:, None, None]
    count = gap.numel() / gap.shape[1]
    return gap.sum((0, 2, 3)) / count, gap.square().sum((0, 2, 3)) / count
