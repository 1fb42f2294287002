"""TAR, Tail-Aware Regularization: as much mass beyond the thresholds as expected.

Matching mean and variance leaves the tails free: by Cantelli's inequality P(z >= k) may
then be anything from 0 to 1 / (1 + k^2). A spiking student responds to just that mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from stars.device import wide
from stars.errors import ConfigError
from stars.priors.state import SynthesisState


def tail(
    state: SynthesisState,
    *,
    thresholds: Sequence[float] = (1.0, 2.0),
    softness: float = 0.25,
) -> Tensor:
    """Squared gap between soft exceedances of the teacher's BN inputs and a Gaussian's.

    p_lck = mean_{B,H,W} sigmoid((z - k) / tau),  z = (a_lc - mu_lc) / sigma_lc
    L = mean_l mean_c sum_k (p_lck - E_{z ~ N(0,1)} sigmoid((z - k) / tau))^2

    Args:
        state: its taps are read.
        thresholds: k, in deviations above the teacher's running mean.
        softness: tau > 0, in deviations.

    Returns:
        Scalar >= 0; 0 iff every exceedance is the Gaussian's.

    Raises:
        ConfigError: no threshold, or softness is not positive.

    Source: STARS, arXiv:2605.27409, abstract (soft exceedance over teacher-derived
        thresholds).
    Differs: the paper's equation is not public; thresholds mu + k sigma and the
        Gaussian target are our reading. The target is an assumption, not a fact of the
        teacher.
    """
    if not thresholds or not softness > 0:
        raise ConfigError(
            f"tail: thresholds {list(thresholds)} must not be empty and softness"
            f" {softness} must be > 0"
        )
    terms = []
    for tap in state.taps:
        mean, variance = tap.layer.running_mean, tap.layer.running_var
        if mean is None or variance is None:
            continue
        deviation = (variance + tap.layer.eps).sqrt()
        scale = 1 / (softness * deviation[:, None, None])
        a = wide(tap.inputs)
        count = a.numel() / a.shape[1]
        found = [
            torch.sigmoid(
                torch.addcmul(-mean[:, None, None] * scale - k / softness, a, scale)
            ).sum((0, 2, 3))
            / count
            for k in thresholds
        ]
        target = a.new_tensor(
            [[gaussian_exceedance(float(k), softness)] for k in thresholds]
        )
        gaps = tap.mean_over_batch(torch.stack(found)) - target
        terms.append(gaps.square().sum(0).mean())
    return torch.stack(terms).mean()


@cache
def gaussian_exceedance(k: float, softness: float) -> float:
    """E_{z ~ N(0,1)} sigmoid((z - k) / softness), by quadrature to 1e-9."""
    z = np.linspace(-12.0, 12.0, 48001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    soft = 0.5 * (1 + np.tanh((z - k) / (2 * softness)))
    return float(np.trapezoid(density * soft, z))
