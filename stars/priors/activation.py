"""Activation: the teacher's features respond strongly to the images."""

from __future__ import annotations

from torch import Tensor

from stars.priors.state import SynthesisState
from stars.runtime.device import wide


def activation(state: SynthesisState) -> Tensor:
    """Minus the mean magnitude of the teacher's penultimate features.

    L = -1/(B F) sum_bf |f_bf|

    Returns:
        Scalar <= 0.

    Source: Chen et al. 2019 (DAFL), arXiv:1904.01186, the activation loss.
    Differs: the mean over features, as in the authors' code, instead of the sum.
    """
    return -wide(state.teacher.mean_features).abs().mean()
