"""RCA, Relational Consistency Alignment: samples relate alike in both networks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.priors.state import SynthesisState


def relational(state: SynthesisState) -> Tensor:
    """Mean squared difference of the two networks' cosine similarities between samples.

    R = f^ f^'  with  f^ = (f - mean_b f) / |f - mean_b f|
    L = 1 / (B (B - 1)) sum_{i != j} (R_T - R_S)_ij^2

    f_T is the teacher's penultimate feature, f_S the student's mean firing rate there.

    Returns:
        Scalar in 0..4; 0 iff the relations agree.

    Raises:
        ConfigError: fewer than two samples.

    Source: STARS, arXiv:2605.27409, abstract (the term and its purpose).
    Differs: the paper's equation is not public; the centred Gram form is our reading.
    """
    batch = state.images.shape[0]
    if batch < 2:
        raise ConfigError("relational: a relation needs at least 2 samples a batch")
    gap = similarities(state.teacher.mean_features) - similarities(
        state.student.mean_features
    )
    off_diagonal = ~torch.eye(batch, dtype=torch.bool, device=gap.device)
    return gap[off_diagonal].square().mean()


def similarities(features: Float[Tensor, "B F"]) -> Float[Tensor, "B B"]:
    """Cosine similarities of the batch-centred rows."""
    centred = F.normalize(features - features.mean(0), dim=1)
    return centred @ centred.T
