"""Feature distillation: compares pooled features, or relations between samples."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.networks.outputs import Outputs

SMALLEST_NORM = (
    1e-3  # shorter vectors are not scaled to length 1: a silent student has them
)


def feature_map(
    student: Outputs,
    teacher: Outputs,
    *,
    match: Literal["features", "relation"] = "features",
) -> Tensor:
    """Squared distance of the two networks' pooled features, each of length 1.

    features:  L = 1/B sum_b |f^_S,b - f^_T,b|^2
    relation:  L = 1/B^2 sum_ij (G^_S - G^_T)_ij^2

    f is the mean over the steps, f^ = f / |f|; G = f f', and G^ has rows of length 1.

    Args:
        student: features [T, B, F], firing rates.
        teacher: features [1, B, F'], ReLU; detached here.
        match: "relation" compares B x B tables of inner products; F and F' may differ.

    Returns:
        Scalar, dimensionless, in 0..4 (features) or 0..4/B (relation); 0 iff directions
        or relations agree.

    Raises:
        ConfigError: match is "features" and the widths differ.

    Source: features: Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3;
        relation: Tung & Mori 2019, arXiv:1907.09682, the similarity-preserving loss.
    Differs: no regressor between the widths; pooled features instead of whole maps;
        features are scaled to length 1, because only rates are in 0..1.
    """
    mine, theirs = student.mean_features.float(), teacher.mean_features.detach().float()
    if match == "relation":
        gap = directions(mine @ mine.T) - directions(theirs @ theirs.T)
        return gap.square().mean()
    if mine.shape != theirs.shape:
        raise ConfigError(
            f"feature_map: the student has {mine.shape[1]} features, the teacher"
            f" {theirs.shape[1]}; use match=relation, which allows different widths"
        )
    return (directions(mine) - directions(theirs)).square().sum(1).mean()


def directions(rows: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
    """Rows scaled to length 1; those below SMALLEST_NORM are divided by it."""
    return F.normalize(rows, dim=1, eps=SMALLEST_NORM)
