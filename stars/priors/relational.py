"""RCA, Relational Consistency Alignment: both networks relate samples equally."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.losses.rkd import SMALLEST_LENGTH, distances
from stars.priors.state import SynthesisState
from stars.runtime.device import wide


def relational(
    state: SynthesisState,
    *,
    variant: Literal["gram", "rank", "distance"] = "gram",
    temperature: float = 0.1,
) -> Tensor:
    """Difference between the two networks' relations of samples.

    R = f^ f^'  with  f^ = (f - mean_b f) / |f - mean_b f|
    gram:      L = 1 / (B (B - 1)) sum_{i != j} (R_T - R_S)_ij^2
    rank:      L = 1 / B sum_i KL(P_T,i || P_S,i),  P_i = softmax_{j != i}(R_ij / tau)
    distance:  L = mean_{i < j} huber(D_T - D_S)_ij,  D_ij = |f_i - f_j| over their mean

    f_T are the teacher's penultimate features, f_S the student's mean firing rates.

    Args:
        state: of one step.
        variant: which relations, and how they are compared.
        temperature: tau > 0; only rank uses it.

    Returns:
        Scalar >= 0, for gram in 0..4; 0 iff the relations agree.

    Raises:
        ConfigError: there are too few samples, or temperature is not positive.

    Source: STARS, arXiv:2605.27409, abstract (the term and its purpose). distance: Park
        et al. 2019 (RKD), arXiv:1904.05068, section 3.2.
    Differs: the paper's equation is not public; every variant is our reading.
    """
    batch, needed = state.images.shape[0], 3 if variant == "rank" else 2
    if batch < needed:
        raise ConfigError(
            f"relational: {variant} needs at least {needed} samples, found {batch}"
        )
    if not temperature > 0:
        raise ConfigError(f"relational: temperature is {temperature}; it must be > 0")
    theirs, mine = (
        wide(outputs.mean_features) for outputs in (state.teacher, state.student)
    )
    if variant == "distance":
        return F.smooth_l1_loss(distances(mine), distances(theirs))
    r_teacher, r_student = (others(similarities(f)) for f in (theirs, mine))
    if variant == "gram":
        return (r_teacher - r_student).square().mean()
    p, q = (F.log_softmax(r / temperature, 1) for r in (r_teacher, r_student))
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def others(relations: Float[Tensor, "B B"]) -> Float[Tensor, "B B-1"]:
    """The table without its diagonal: each sample's relations to the others."""
    batch = len(relations)
    off_diagonal = ~torch.eye(batch, dtype=torch.bool, device=relations.device)
    return relations[off_diagonal].view(batch, batch - 1)


def similarities(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """The cosine similarities of the rows, after subtracting their mean.

    Rows that equal the mean but for rounding are similar to no other.
    """
    centered = F.normalize(features - features.mean(0), dim=1, eps=SMALLEST_LENGTH)
    return centered @ centered.T
