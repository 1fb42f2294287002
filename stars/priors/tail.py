"""TAR, Tail-Aware Regularization: as much mass beyond the thresholds as expected.

Matching mean and variance leaves the tails free: by Cantelli's inequality P(z >= k) may
then be anything from 0 to 1 / (1 + k^2). A spiking student responds to just that mass.
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
    """Gap between soft exceedances of the teacher's BN inputs and what is expected.

    p_lck = mean_{B,H,W} sigmoid((z - k) / tau),  z = (a_lc - mu_lc) / sigma_lc
    gaussian:  L = mean_l mean_c sum_k (p_lck - E sigmoid((z - k) / tau))^2, z ~ N(0,1)
    relu:      the same with one k for each channel, where BN's output is zero:
               p_lc = mean sigmoid((gamma z + beta) / (tau |gamma|)), E likewise
    band:      L = mean_l mean_c sum_k max(low - p_lck, 0)^2 + max(p_lck - high, 0)^2

    Args:
        state: its taps are read.
        variant: what is expected.
        thresholds: k, in deviations above the teacher's running mean; not for relu.
        softness: tau > 0, in deviations.
        band: low and high of band, 0 <= low <= high <= 1; meant for thresholds = [1].

    Returns:
        Scalar >= 0; 0 iff every exceedance is the expected one, or inside the band.

    Raises:
        ConfigError: no threshold, softness is not positive, or the band is none.

    Source: STARS, arXiv:2605.27409, abstract (soft exceedance over teacher-derived
        thresholds).
    Differs: the paper's equation is not public; every variant is our reading. The
        Gaussian target is an assumption, not a fact of the teacher; relu is the
        teacher's own threshold where BN feeds a ReLU, not where a sum does.
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
    """`tail` of one layer: mean over its channels, sum over the thresholds."""
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
