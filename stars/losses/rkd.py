"""RKD, relational knowledge distillation: by distances and by angles."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.losses.softened import check_not_negative
from stars.networks.outputs import Outputs

SMALLEST_LENGTH = 1e-3  # shorter differences are not scaled to length 1


def rkd(
    student: Outputs, teacher: Outputs, *, distance: float = 1.0, angle: float = 2.0
) -> Tensor:
    """Huber loss on the distances and on the angles between samples' features.

    L = d mean_{i != j} h(D_S,ij - D_T,ij) + a mean_{i, j, k distinct} h(C_S - C_T)_ijk

    D_ij = |f_i - f_j| / mean_{i != j} |f_i - f_j|
    C_ijk = cos of the angle at j, between f_i - f_j and f_k - f_j
    h(x) = x^2 / 2 for |x| <= 1, else |x| - 1/2;  f is the mean over the steps

    Args:
        student: features [T, B, F], firing rates.
        teacher: features [1, B, F'], ReLU; detached here. F and F' may differ.
        distance: d >= 0.
        angle: a >= 0; needs memory for B x B x F differences.

    Returns:
        Scalar, dimensionless, >= 0; 0 iff the relations agree.

    Raises:
        ConfigError: a weight is negative, both are 0, or there are too few samples.

    Source: Park et al. 2019, arXiv:1904.05068, section 3.2.
    Differs: means over pairs and triplets of distinct samples instead of sums; the
        default weights 1 and 2 are our choice.
    """
    check_not_negative(distance, "distance", "rkd")
    check_not_negative(angle, "angle", "rkd")
    mine, theirs = student.mean_features.float(), teacher.mean_features.detach().float()
    needed = 3 if angle else 2
    if not distance + angle > 0 or len(mine) < needed:
        raise ConfigError(
            f"rkd: distance {distance} and angle {angle} on a batch of {len(mine)};"
            f" expected a weight above 0 and at least {needed} samples"
        )
    total = mine.new_zeros(())
    if distance:
        total = total + distance * F.smooth_l1_loss(distances(mine), distances(theirs))
    if angle:
        total = total + angle * F.smooth_l1_loss(angles(mine), angles(theirs))
    return total


def distances(features: Float[Tensor, "B F"]) -> Float[Tensor, " P"]:
    """The distances of the pairs i < j, divided by their mean."""
    pairs = F.pdist(features)
    return pairs / pairs.mean().clamp(min=SMALLEST_LENGTH)


def angles(features: Float[Tensor, "B F"]) -> Float[Tensor, " N"]:
    """The cosines at j of all triplets (i, j, k) of distinct samples."""
    batch = len(features)
    edges = F.normalize(features[None] - features[:, None], dim=2, eps=SMALLEST_LENGTH)
    cosines = edges @ edges.transpose(1, 2)
    same = torch.eye(batch, dtype=torch.bool, device=features.device)
    distinct = ~(same[:, :, None] | same[:, None, :] | same[None, :, :])
    return cosines[distinct]
