"""Temporal decoupling: every step learns, also from the student's correct steps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.losses.softened import (
    check_not_negative,
    divergence,
    log_softened,
    predicted,
)
from stars.networks.outputs import Outputs
from stars.runtime.device import wide


def decoupled(
    student: Outputs,
    teacher: Outputs,
    *,
    temperature: float = 3.0,
    soft: float = 0.2,
    ensemble: float = 0.5,
) -> Tensor:
    """Cross-entropy, KL from the teacher and KL from the correct steps, at every step.

    L = 1/T sum_t [ CE(z_t, y) + a tau^2 KL(p || q_t) + b tau^2 KL(m || q_t) ]

    p = softmax(v / tau),  q_t = softmax(z_t / tau),  m = softmax(z_r / tau),
    y = argmax v; z_r is the mean of z_t over the steps whose class is y. Where no step
    is correct, the last term is 0. Each term is the mean over the batch.

    Args:
        student: logits [T, B, K], z_t at step t; z_r is detached.
        teacher: logits [1, B, K], v; detached here.
        temperature: tau > 0, dimensionless.
        soft: a >= 0, the weight of the teacher.
        ensemble: b >= 0, the weight of the correct steps.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ConfigError: an option is out of its range.

    Source: arXiv:2501.15925, the temporal-wise logits; terms and defaults after the
        authors' code.
    Differs: y is the teacher's class, not a true label.
    """
    check_not_negative(soft, "soft", "decoupled")
    check_not_negative(ensemble, "ensemble", "decoupled")
    scores, labels = wide(student.logits), predicted(teacher)
    log_p = log_softened(teacher.mean_logits.detach(), temperature, "decoupled")
    log_q = log_softened(scores, temperature, "decoupled")
    right = (scores.argmax(-1) == labels).to(scores.dtype)[..., None]
    correct = (scores.detach() * right).sum(0) / right.sum(0).clamp(min=1)
    log_m = log_softened(correct, temperature, "decoupled")
    hard_loss = F.cross_entropy(scores.flatten(0, 1), labels.repeat(len(scores)))
    soft_loss = divergence(log_p.expand_as(log_q), log_q).mean()
    own_loss = (divergence(log_m.expand_as(log_q), log_q) * right.amax((0, 2))).mean()
    return hard_loss + temperature**2 * (soft * soft_loss + ensemble * own_loss)
