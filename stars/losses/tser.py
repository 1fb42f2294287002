"""TSER: temporal separation with entropy regularization."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.losses.softened import (
    check_not_negative,
    check_share,
    divergence,
    log_softened,
    predicted,
)
from stars.networks.outputs import Outputs


def tser(
    student: Outputs,
    teacher: Outputs,
    *,
    temperature: float = 4.0,
    soft: float = 0.5,
    entropy: float = 0.01,
) -> Tensor:
    """Cross-entropy and KL at every step, minus the student's weighted entropy.

    L = 1/T sum_t [ (1 - a) CE(z_t, y) + a tau^2 KL(p || q_t) - g H(q_t) ]

    p = softmax(v / tau),  q_t = softmax(z_t / tau),  H(q) = - sum_k q_k log q_k,
    y = argmax v; each term is the mean over the batch.

    Args:
        student: logits [T, B, K], z_t at step t.
        teacher: logits [1, B, K], v; detached here.
        temperature: tau > 0, dimensionless.
        soft: a in 0..1, the share of the soft targets.
        entropy: g >= 0, the weight of the entropy.

    Returns:
        Scalar in nats, at least -g log K. With a = 1 and g = 0 it is 0 iff every step
        agrees with the teacher.

    Raises:
        ConfigError: an option is out of its range.

    Source: arXiv:2503.03144 (CVPR 2025), abstract: logit distillation at every step,
        and an entropy regularization.
    Differs: we did not have the paper's equations. The three terms are our reading of
        the abstract, their weights and the entropy's sign follow a third party, the
        defaults are ours. y is the teacher's class, not a true label.
    """
    check_share(soft, "soft", "tser")
    check_not_negative(entropy, "entropy", "tser")
    steps = student.logits.shape[0]
    log_p = log_softened(teacher.mean_logits.detach(), temperature, "tser")
    log_q = log_softened(student.logits, temperature, "tser")
    labels = predicted(teacher).repeat(steps)
    hard_loss = F.cross_entropy(student.logits.float().flatten(0, 1), labels)
    soft_loss = temperature**2 * divergence(log_p.expand_as(log_q), log_q).mean()
    disorder = -(log_q.exp() * log_q).sum(-1).mean()
    return (1 - soft) * hard_loss + soft * soft_loss - entropy * disorder
