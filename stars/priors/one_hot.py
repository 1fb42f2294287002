"""OH: the teacher predicts the class that was requested for the image."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.priors.state import SynthesisState


def one_hot(state: SynthesisState) -> Tensor:
    """Cross-entropy of the teacher's scores with the requested labels, in nats.

    Source: Chen et al. 2019 (DAFL), arXiv:1904.01186, the one-hot loss.
    Differs: the label is drawn beforehand; it is not the teacher's argmax.
    """
    return F.cross_entropy(state.teacher.mean_logits, state.labels)
