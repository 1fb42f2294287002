"""HTA-KL: head-tail aware KL divergence."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stars.losses.softened import check_share, log_softened
from stars.networks.outputs import Outputs

EDGE = 1e-5  # probabilities this close to the head's edge count as at the edge


def hta_kl(
    student: Outputs,
    teacher: Outputs,
    *,
    temperature: float = 4.0,
    head: float = 0.5,
    masked: bool = False,
    per_step: bool = False,
) -> Tensor:
    """Forward and reverse KL, weighted by the gaps in likely and unlikely classes.

    L = tau^2 / B sum_b [ w_h KL(p || q) + w_t KL(q || p) ]

    p = softmax(v / tau) in descending order, q = softmax(zbar / tau) in the same order;
    head = {cumulative p <= d} and always the top class, tail = the other classes;
    g_h, g_t = sum |p - q| over head and tail, w_h = g_h / (g_h + g_t), w_t = 1 - w_h.
    The weights get no gradient. If g_h + g_t = 0, the sample's loss is 0.

    Args:
        student: logits [T, B, K]; their mean over T is zbar.
        teacher: logits [1, B, K], v; detached here.
        temperature: tau > 0, dimensionless.
        head: d in 0..1, the cumulative probability at which the head ends.
        masked: whether the forward KL sums only the head, the reverse only the tail.
        per_step: whether to average the losses of all steps, instead of their scores.

    Returns:
        Scalar in nats; 0 where the two distributions agree. Not negative unless
        `masked`, because a part of a divergence can be.

    Raises:
        ConfigError: an option is out of its range.

    Source: arXiv:2504.20445, abstract: a mask over cumulative probability splits head
        and tail, adaptive weights, forward and reverse KL. Weights by the gaps of head
        and tail: Wu et al. 2024 (AKL), arXiv:2404.02657.
    Differs: we did not have the paper's equations; threshold, weights and the sum of
        the two divergences are our reading, after AKL.
    """
    check_share(head, "head", "hta_kl")
    scores = student.logits if per_step else student.mean_logits[None]
    log_p = log_softened(teacher.mean_logits.detach(), temperature, "hta_kl")
    log_q = log_softened(scores, temperature, "hta_kl")
    p, q = log_p.exp(), log_q.exp()
    in_head = head_mask(p, head)
    gaps = (p - q.detach()).abs()
    total = gaps.sum(-1)
    weight = (gaps * in_head).sum(-1) / total.clamp(min=torch.finfo(p.dtype).tiny)
    forward, reverse = p * (log_p - log_q), q * (log_q - log_p)
    if masked:
        forward, reverse = forward * in_head, reverse * ~in_head
    both = weight * forward.sum(-1) + (1 - weight) * reverse.sum(-1)
    return temperature**2 * torch.where(total > 0, both, 0.0).mean()


def head_mask(p: Float[Tensor, "B K"], share: float) -> Bool[Tensor, "B K"]:
    """The likeliest classes that add up to at most `share`; at least the first one.

    Sums that exceed it by rounding alone are in the head.
    """
    values, order = p.sort(dim=1, descending=True, stable=True)
    in_head = values.double().cumsum(1) <= share + EDGE
    in_head[:, 0] = True
    return torch.zeros_like(in_head).scatter(1, order, in_head)
