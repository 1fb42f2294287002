"""TAR, Tail-Aware Regularization: matches the mass beyond thresholds.

Mean and variance do not fix the tails: by Cantelli's inequality, P(z >= k) may be
anything from 0 to 1 / (1 + k^2). A spiking student responds to exactly this mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from stars.errors import ConfigError
from stars.priors.exceedance import Channels, channels, gaussian_exceedance
from stars.priors.state import SynthesisState


def tail(
    state: SynthesisState,
    *,
    variant: Literal["gaussian", "relu", "band"] = "gaussian",
    thresholds: Sequence[float] = (1.0, 2.0),
    softness: float = 0.25,
    band: tuple[float, float] = (0.05, 0.3),
) -> Tensor:
    """Gap between the soft exceedances of the teacher's BN inputs and their targets.

    p_lck = mean_{B,H,W} sigmoid((z - k) / tau),  z = (a_lc - mu_lc) / sigma_lc
    gaussian:  L = mean_l mean_c sum_k (p_lck - E sigmoid((z - k) / tau))^2, z ~ N(0,1)
    relu:      the same with one k for each channel, at which BN's output is zero:
               p_lc = mean sigmoid((gamma z + beta) / (tau |gamma|)), E for z ~ N(0,1)
    band:      L = mean_l mean_c sum_k max(low - p_lck, 0)^2 + max(p_lck - high, 0)^2

    Args:
        state: only its taps are read.
        variant: which targets.
        thresholds: k, in standard deviations above the running mean; not for relu.
        softness: tau > 0, in standard deviations.
        band: low and high of band, 0 <= low <= high <= 1; meant for thresholds = [1].

    Returns:
        Scalar >= 0; 0 iff every exceedance equals its target, or is inside the band.

    Raises:
        ConfigError: no threshold, a softness that is not positive, or an invalid band.

    Source: STARS, arXiv:2605.27409, abstract (soft exceedance over teacher-derived
        thresholds).
    Differs: the paper's equation is not public; every variant is our reading. The
        Gaussian target is an assumption about the teacher. relu uses the teacher's own
        threshold only if BN feeds a ReLU directly, not through a sum.
    """
    if not thresholds or not softness > 0:
        raise ConfigError(
            f"tail: thresholds {list(thresholds)} must not be empty and softness"
            f" {softness} must be > 0"
        )
    if not 0 <= band[0] <= band[1] <= 1:
        raise ConfigError(f"tail: band {list(band)} must be 0 <= low <= high <= 1")
    layers = [
        gap(layer, variant, thresholds, softness, band)
        for layer in channels(state.taps)
    ]
    return torch.stack(layers).mean()


def gap(
    layer: Channels,
    variant: str,
    thresholds: Sequence[float],
    softness: float,
    band: tuple[float, float],
) -> Tensor:
    """`tail` of one layer: the mean over channels of the sum over thresholds."""
    if variant == "relu":
        expected = layer.beyond_zero_expected(softness)
        return (layer.beyond_zero(softness) - expected).square().mean()
    found = torch.stack([layer.beyond(float(k), softness) for k in thresholds])
    if variant == "band":
        gaps = (band[0] - found).relu() + (found - band[1]).relu()
    else:
        targets = [gaussian_exceedance(float(k), softness) for k in thresholds]
        gaps = found - found.new_tensor(targets)[:, None]
    return gaps.square().sum(0).mean()
