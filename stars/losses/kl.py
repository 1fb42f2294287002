"""KL divergence of softened class scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.losses.softened import log_softened
from stars.networks.outputs import Outputs


def kl(student: Outputs, teacher: Outputs, *, temperature: float = 4.0) -> Tensor:
    """KL divergence from the softened teacher to the softened student.

    L = tau^2 / B sum_b KL(softmax(v_b / tau) || softmax(zbar_b / tau))

    Args:
        student: logits [T, B, K]; their mean over T is zbar.
        teacher: logits [1, B, K], v; detached here.
        temperature: tau > 0, dimensionless.

    Returns:
        Scalar in nats, mean over the batch; 0 iff the two distributions agree.

    Raises:
        ConfigError: temperature is not positive.

    Source: Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 2.
    Differs: the student's scores are the mean over its time steps.
    """
    log_p = log_softened(teacher.mean_logits.detach(), temperature, "kl")
    log_q = log_softened(student.mean_logits, temperature, "kl")
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * (
        temperature**2
    )
