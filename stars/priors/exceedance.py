"""Soft exceedances: the share of a BatchNorm's input beyond a threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stars.runtime.compiling import kernel
from stars.runtime.device import wide
from stars.teacher.teacher import BatchNormTap

SMALLEST_GAIN = 1e-6  # of BatchNorm; below it a channel is dead for any input
NODES = 401  # nodes of the quadrature over -8..8 standard deviations


@dataclass(frozen=True)
class Channels:
    """The input and the statistics of one BatchNorm2d.

    Args:
        inputs: a, [B, C, H, W].
        mean, deviation: running mu and sigma, [C, 1, 1].
        gain, shift: gamma and beta, [C, 1, 1].
        mean_over_batch: of the tap; turns means over `inputs` into those of the batch.
        fused: whether to compute it with a compiled kernel.
    """

    inputs: Tensor
    mean: Tensor
    deviation: Tensor
    gain: Tensor
    shift: Tensor
    mean_over_batch: Callable[[Tensor], Tensor]
    fused: bool = False

    def beyond(
        self, k: float | Tensor, softness: float, sign: float | Tensor = 1.0
    ) -> Float[Tensor, " C"]:
        """mean_{B,H,W} sigmoid((sign z - k) / tau),  z = (a - mu) / sigma.

        Args:
            k: one for all channels, or [C, 1, 1].
            softness: tau.
            sign: 1 or -1, for all channels, or [C, 1, 1].
        """
        scale = sign / (softness * self.deviation)
        offset = -self.mean * scale - k / softness
        mean = kernel(mean_sigmoid, self.inputs.dtype, fused=self.fused)
        return self.mean_over_batch(mean(self.inputs, scale, offset))

    def beyond_zero(self, softness: float) -> Float[Tensor, " C"]:
        """mean_{B,H,W} sigmoid((gamma z + beta) / (tau |gamma|)): BN's output > 0."""
        return self.beyond(self._zero(), softness, torch.sign(self.gain))

    def beyond_zero_expected(self, softness: float) -> Float[Tensor, " C"]:
        """The value of `beyond_zero` for z ~ N(0, 1)."""
        return gaussian_exceedances(self._zero().flatten(), softness)

    def _zero(self) -> Tensor:
        return -self.shift / self.gain.abs().clamp(min=SMALLEST_GAIN)


def channels(taps: Sequence[BatchNormTap]) -> Iterator[Channels]:
    """The layers that have running statistics."""
    for tap in taps:
        layer = tap.layer
        mean, variance = layer.running_mean, layer.running_var
        if mean is None or variance is None:
            continue
        known = layer.weight is not None
        gain: Tensor = layer.weight if known else torch.ones_like(mean)
        shift: Tensor = layer.bias if known else torch.zeros_like(mean)
        deviation = (variance + layer.eps).sqrt()
        mean, deviation, gain, shift = (
            x[:, None, None] for x in (mean, deviation, gain, shift)
        )
        yield Channels(
            tap.inputs,
            mean,
            deviation,
            gain,
            shift,
            tap.mean_over_batch,
            fused=tap.fused,
        )


def mean_sigmoid(inputs: Tensor, scale: Tensor, offset: Tensor) -> Float[Tensor, " C"]:
    """The mean over B, H and W of sigmoid(scale a + offset), a [B, C, H, W]."""
    soft = torch.sigmoid(torch.addcmul(offset, wide(inputs), scale))
    return soft.sum((0, 2, 3)) / (inputs.numel() / inputs.shape[1])


@cache
def gaussian_exceedance(k: float, softness: float) -> float:
    """E_{z ~ N(0,1)} sigmoid((z - k) / softness), by quadrature to 1e-9."""
    z = np.linspace(-12.0, 12.0, 48001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    soft = 0.5 * (1 + np.tanh((z - k) / (2 * softness)))
    return float(np.trapezoid(density * soft, z))


def gaussian_exceedances(k: Float[Tensor, " C"], softness: float) -> Tensor:
    """`gaussian_exceedance` of many k, accurate to 1e-5 for softness >= 0.1."""
    z = torch.linspace(-8.0, 8.0, NODES, device=k.device, dtype=k.dtype)
    density = torch.exp(-0.5 * z**2)
    soft = torch.sigmoid((z - k[:, None]) / softness)
    return soft @ (density / density.sum())
