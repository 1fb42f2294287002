"""NLD: distillation on logits that are smoothed by noise."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stars.losses.softened import check_share, divergence, log_softened
from stars.networks.outputs import Outputs


def nld(
    student: Outputs,
    teacher: Outputs,
    *,
    form: Literal["released", "paper"] = "released",
    temperature: float = 2.0,
    noise: float = 0.1,
) -> Tensor:
    """KL divergence from the teacher to the student with noise in its scores.

    L = tau^2 / B sum_b KL(softmax(v / tau) || q),    xi ~ N(0, 1) for each class

    paper:     q = softmax((zbar + lam e) / tau),  e = m + s xi
    released:  q = (1 - lam) softmax(zbar / tau) + lam softmax(n / tau),  n = m + s^2 xi

    m and s are the mean and the standard deviation (over K - 1) of a sample's K scores
    zbar. The noise gets no gradient. It comes from torch's generator of the scores'
    device, so `torch.manual_seed` makes it repeatable.

    Args:
        student: logits [T, B, K]; their mean over T is zbar.
        teacher: logits [1, B, K], v; detached here.
        form: which equation.
        temperature: tau > 0, dimensionless.
        noise: lam in 0..1; with 0 both forms are `kl`.

    Returns:
        Scalar in nats; >= 0, and with lam = 0 it is 0 iff the distributions agree.

    Raises:
        ConfigError: an option is out of its range.

    Source: arXiv:2511.06902 (AAAI 2026). "released" is what the authors' code computes,
        with its tau = 2 and lam = 0.1; "paper" is the paper's form, from a third
        party's notes.
    Differs: three points are our reading: the noise gets no gradient, its mean and
        deviation are over the classes of a sample, and zbar is the mean over the steps.
    """
    check_share(noise, "noise", "nld")
    scores = student.mean_logits.float()
    log_p = log_softened(teacher.mean_logits.detach(), temperature, "nld")
    if form == "paper":
        log_q = log_softened(scores + noise * like(scores, 1), temperature, "nld")
    else:
        clean = log_softened(scores, temperature, "nld")
        noisy = log_softened(like(scores, 2), temperature, "nld")
        log_q = mixture(clean, noisy, noise)
    return temperature**2 * divergence(log_p, log_q).mean()


def like(scores: Float[Tensor, "B K"], power: int) -> Float[Tensor, "B K"]:
    """Noise m + s^power xi, with the mean and deviation of each row of `scores`."""
    scores = scores.detach()
    mean, deviation = scores.mean(1, keepdim=True), scores.std(1, keepdim=True)
    return mean + deviation**power * torch.randn_like(scores)


def mixture(
    log_a: Float[Tensor, "B K"], log_b: Float[Tensor, "B K"], share: float
) -> Float[Tensor, "B K"]:
    """log((1 - share) a + share b), computed from the logarithms."""
    if share in (0, 1):
        return log_b if share else log_a
    return torch.logaddexp(log_a + math.log(1 - share), log_b + math.log(share))
