"""BatchNorm2d over the images of all processes, compiled to a few kernels.

torch's BatchNorm2d is slow for bfloat16 on CPUs; its SyncBatchNorm needs GPUs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stars.runtime.compiling import kernel
from stars.runtime.device import wide
from stars.runtime.distributed import gathered, processes, sum_in_place

IMAGE = (0, 2, 3)  # the axes of [B, C, H, W] that statistics are taken over
COLUMN = (slice(None), None, None)  # [C] beside [B, C, H, W]


class BatchNorm2d(nn.BatchNorm2d):
    """torch's affine BatchNorm2d over the joint batch of all processes.

    As in torch, it normalizes with the biased variance and remembers the unbiased one.

    Args:
        features: C.
        widens: whether it returns at least float32; else it returns its input's dtype.

    Attributes:
        fused: whether it is compiled; if not, one process alone runs torch's own.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, features: int, *, widens: bool = False) -> None:
        super().__init__(features)
        self.widens = widens
        self.fused = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]; B must be equal in all processes."""
        if not self.fused and (processes() == 1 or not self.training):
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(wide(x)) if self.widens else super().forward(x)
        dtype = wide(x).dtype if self.widens else x.dtype
        if self.training:
            mean, variance = global_moments(x.detach(), fused=self.fused)
            self._remember(mean, variance, processes() * x.numel() // x.shape[1])
        else:
            mean, variance = self.running_mean, self.running_var
        inverse = (variance + self.eps).rsqrt()
        result: Tensor = Normalized.apply(
            x, self.weight, self.bias, (mean, inverse), dtype, self
        )
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)


def global_moments(x: Tensor, *, fused: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over all processes' x, [C] each.

    Var = mean of the processes' variances + variance of their means.
    """
    variance, mean = kernel(moments, x.dtype, fused=fused)(x)
    if processes() == 1:
        return mean, variance
    means, variances = gathered(torch.stack([mean, variance])[None]).unbind(1)
    variance, mean = torch.var_mean(means, 0, correction=0)
    return mean, variance + variances.mean(0)


class Normalized(torch.autograd.Function):
    """y = gamma z + beta,  z = (x - mean) / s, for N values a channel.

    dx = gamma / s (dy - sum dy / N - z sum(dy z) / N),  dgamma = sum dy z,
    dbeta = sum dy. The sums in dx are over all processes; they are left out if the
    statistics are constants. dgamma and dbeta are sums over this process's rows.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        statistics: tuple[Tensor, Tensor],
        dtype: torch.dtype,
        layer: BatchNorm2d,
    ) -> Tensor:
        mean, inverse = statistics
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.of_batch, ctx.fused = layer.training, layer.fused
        run = kernel(normalized, (x.dtype, dtype), fused=layer.fused)
        y: Tensor = run(x.detach(), mean, weight * inverse, bias.detach(), dtype)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: D102
        x, weight, mean, inverse = (kept.detach() for kept in ctx.saved_tensors)
        kind, fused = (x.dtype, gradient.dtype), ctx.fused
        scale = weight * inverse
        of_bias: Any = None
        of_weight: Any = None
        if ctx.of_batch or any(ctx.needs_input_grad[1:3]):
            run = kernel(sums, kind, fused=fused)
            of_bias, of_weight = run(gradient, x, mean, inverse)
        if ctx.of_batch:
            count = processes() * x.numel() // x.shape[1]
            of_y, of_z = sum_in_place(torch.stack([of_bias, of_weight])) / count
            slope, offset = -scale * inverse * of_z, -scale * of_y
            whole = kernel(through_batch, kind, fused=fused)
            dx = whole(gradient, x, mean, scale, slope, offset)
        else:
            dx = kernel(through_line, kind, fused=fused)(gradient, scale, x.dtype)
        return dx, of_weight, of_bias, None, None, None


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The biased variance and the mean of each channel, [C] each."""
    mean = wide(x).mean(IMAGE)
    return (wide(x) - mean[COLUMN]).square().mean(IMAGE), mean


def normalized(
    x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype
) -> Tensor:
    """Scale (x - mean) + shift, for each channel."""
    return ((wide(x) - mean[COLUMN]) * scale[COLUMN] + shift[COLUMN]).to(dtype)


def sums(
    gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """The sums of dy and of dy z, for each channel."""
    dy = wide(gradient)
    z = (wide(x) - mean[COLUMN]) * inverse[COLUMN]
    return dy.sum(IMAGE), (dy * z).sum(IMAGE)


def through_batch(
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    slope: Tensor,
    offset: Tensor,
) -> Tensor:
    """Scale dy + slope (x - mean) + offset."""
    own = (wide(x) - mean[COLUMN]) * slope[COLUMN] + offset[COLUMN]
    return (wide(gradient) * scale[COLUMN] + own).to(x.dtype)


def through_line(gradient: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Scale dy."""
    return (wide(gradient) * scale[COLUMN]).to(dtype)


def fuse(module: nn.Module) -> None:
    """Compile every BatchNorm2d of this class in `module`."""
    for layer in module.modules():
        if isinstance(layer, BatchNorm2d):
            layer.fused = True
