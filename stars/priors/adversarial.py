"""ADV: images on which the student does not yet follow the teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.priors.state import SynthesisState


def adversarial(state: SynthesisState) -> Tensor:
    """Minus the divergence between teacher and student where both name one class.

    L = -1/B sum_b [argmax v_b = argmax zbar_b] KL(softmax(v_b) || softmax(zbar_b))

    Returns:
        Scalar <= 0, nats.

    Source: Fang et al. 2021 (CMI), arXiv:2105.08584; the mask is in the authors' code.
    """
    v, z = state.teacher.mean_logits, state.student.mean_logits
    divergence = F.kl_div(
        F.log_softmax(z, 1), F.log_softmax(v, 1), reduction="none", log_target=True
    ).sum(1)
    agree = (v.argmax(1) == z.argmax(1)).to(divergence.dtype)
    return -(agree * divergence).mean()
