"""BatchNorm2d with the statistics of the whole batch where processes share it.

torch's SyncBatchNorm does so on GPUs alone; this one runs wherever its tensors are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stars.device import wide
from stars.distributed import gathered, processes, sum_in_place

IMAGE = (0, 2, 3)  # the axes of [B, C, H, W] that the statistics are over


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d, affine, whose batch is that of all processes, each with a share.

    Same eps, momentum, biased variance to normalise with and unbiased one to remember
    as its base class, which it is outside of training and in a process of its own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]; shares must have one size."""
        if not self.training or processes() == 1:
            return super().forward(x)
        mean, variance = global_moments(x.detach())
        if self.track_running_stats:
            self._remember(mean, variance, processes() * x.numel() // x.shape[1])
        result: Tensor = Normalised.apply(
            x, self.weight, self.bias, mean, variance, self.eps
        )
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # the mean of all batches
            momentum = 1 / float(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var), momentum)


def global_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over all processes' x, [C] each.

    Var = mean of the shares' variances + variance of their means.
    """
    variance, mean = torch.var_mean(wide(x), IMAGE, correction=0)
    means, variances = gathered(torch.stack([mean, variance])[None]).unbind(1)
    variance, mean = torch.var_mean(means, 0, correction=0)
    return mean, variance + variances.mean(0)


class Normalised(torch.autograd.Function):
    """y = gamma (x - mean) / s + beta,  s = sqrt(var + eps), of a shared batch of N.

    With z = (x - mean) / s and sums over all processes,
    dx = gamma / s (dy - sum dy / N - z sum(dy z) / N),  dgamma = sum dy z,
    dbeta = sum dy; the last two are left as each process's own part.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        return F.batch_norm(
            x, mean.to(weight), variance.to(weight), weight, bias, eps=eps
        )

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: D102
        x, weight, mean, inverse = ctx.saved_tensors
        column = (slice(None), None, None)
        dy = wide(gradient)
        z = (wide(x) - mean[column]) * inverse[column]
        own = torch.stack([dy.sum(IMAGE), (dy * z).sum(IMAGE)])
        count = processes() * x.numel() // x.shape[1]
        of_y, of_z = sum_in_place(own.clone()) / count
        dx = (dy - of_y[column] - z * of_z[column]) * (weight * inverse)[column]
        return dx.to(x.dtype), own[1].to(weight), own[0].to(weight), None, None, None


def globally_normalised(module: nn.Module) -> nn.Module:
    """`module`, its BatchNorm2d layers made global where processes share the batch."""
    for name, child in module.named_children():
        if processes() > 1 and type(child) is nn.BatchNorm2d:
            made = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum)
            made.to(child.weight).load_state_dict(child.state_dict())
            setattr(module, name, made)
        else:
            globally_normalised(child)
    return module
