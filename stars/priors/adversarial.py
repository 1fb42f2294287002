"""ADV: images on which the student still differs from the teacher."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.priors.state import SynthesisState


def adversarial(
    state: SynthesisState,
    *,
    divergence: Literal["kl", "js"] = "kl",
    where: Literal["agree", "everywhere"] = "agree",
    temperature: float = 1.0,
) -> Tensor:
    """Minus the divergence between teacher and student.

    L = -1/B sum_b m_b D(p_b, q_b),  p = softmax(v / tau), q = softmax(zbar / tau)
    kl: D = KL(p || q)    js: D = KL(p || m) / 2 + KL(q || m) / 2,  m = (p + q) / 2

    Args:
        state: of one step.
        divergence: D.
        where: "agree" sets m_b = 1 if both predict one class, else 0; "everywhere" 1.
        temperature: tau > 0.

    Returns:
        Scalar <= 0, nats.

    Raises:
        ConfigError: temperature is not positive.

    Source: agree: Fang et al. 2021 (CMI), arXiv:2105.08584, the mask in the authors'
        code; everywhere: Choi et al. 2020 (DFQ), arXiv:2005.04136; js: Yin et al. 2020
        (Adaptive DeepInversion), arXiv:1912.08795, equation 8, there as 1 - JS.
    """
    if not temperature > 0:
        raise ConfigError(f"adversarial: temperature is {temperature}; it must be > 0")
    v, z = state.teacher.mean_logits, state.student.mean_logits
    p, q = (F.log_softmax(scores / temperature, 1) for scores in (v, z))
    if divergence == "kl":
        distance = kl(p, q)
    else:
        middle = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0))
        distance = (kl(p, middle) + kl(q, middle)) / 2
    if where == "agree":
        distance = distance * (v.argmax(1) == z.argmax(1))
    return -distance.mean()


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, nats."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
