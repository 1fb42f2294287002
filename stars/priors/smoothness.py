"""Total variation and norm of the images, which are small for natural images."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.priors.state import SynthesisState


def total_variation(state: SynthesisState) -> Tensor:
    """Total variation: the differences between neighboring pixels.

    L = sum_d |x - shift_d(x)|_2  over right, down and both diagonals

    Returns:
        Scalar >= 0; 0 iff every image is of one color.

    Source: Yin et al. 2020, arXiv:1912.08795, equation 3, R_TV.
    Differs: norms over the whole batch and in four directions, as in the authors' code.
    """
    x = state.images
    gaps = (
        x[..., :, 1:] - x[..., :, :-1],
        x[..., 1:, :] - x[..., :-1, :],
        x[..., 1:, 1:] - x[..., :-1, :-1],
        x[..., 1:, :-1] - x[..., :-1, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(gap) for gap in gaps]).sum()


def l2(state: SynthesisState) -> Tensor:
    """The norm |x|_2 of all normalized images of the batch.

    Source: Yin et al. 2020, arXiv:1912.08795, equation 3, R_l2.
    """
    length: Tensor = torch.linalg.vector_norm(state.images)
    return length
