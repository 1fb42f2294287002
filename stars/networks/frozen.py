"""A frozen ANN for gradients to its images, with BatchNorm and ReLU in one kernel.

In evaluation mode, BatchNorm is a scale and a shift of each channel. The ReLU behind it
applies both, so each pass reads the convolution's output only once, in its precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from stars.networks.batch_norm import BatchNorm2d
from stars.networks.blueprint import ConvBN
from stars.networks.network import ConvBNLayer, Network
from stars.runtime.compiling import kernel
from stars.runtime.device import wide

Lines = Sequence[tuple[Tensor | None, Tensor | None]]  # scale and shift of each input


class Scaled(NamedTuple):
    """scale values + shift, to be computed later: values [N, C, H, W], others [C]."""

    values: Tensor
    scale: Tensor
    shift: Tensor


class FrozenBatchNorm2d(BatchNorm2d):
    """BatchNorm for evaluation with the parameters and statistics of another."""

    def __init__(self, norm: BatchNorm2d) -> None:
        super().__init__(norm.num_features)
        self._parameters, self._buffers = norm._parameters, norm._buffers

    def forward(self, x: Tensor) -> Scaled:  # type: ignore[override]
        """[N, C, H, W] of any precision -> values with their scale and shift."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return Scaled(x, scale, self.bias - self.running_mean * scale)


class FrozenConvBN(ConvBNLayer):
    """Convolution, then a BatchNorm that the next activation computes."""

    def __init__(self, spec: ConvBN, layer: ConvBNLayer) -> None:
        super().__init__(spec)
        self.conv, self.bn = layer.conv, FrozenBatchNorm2d(layer.bn)

    def forward(self, x: Tensor) -> Scaled:  # type: ignore[override]
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.bn(self.conv(x))  # type: ignore[no-any-return]


class FrozenSumReLU(nn.Module):
    """ReLU of the sum of its inputs, computed in float32 or wider."""

    def forward(self, *currents: Tensor | Scaled) -> Tensor:
        """[N, C, H, W] each -> [N, C, H, W] in the first one's precision."""
        values = [x.values if isinstance(x, Scaled) else x for x in currents]
        lines = [x[1:] if isinstance(x, Scaled) else (None, None) for x in currents]
        result: Tensor = SumReLUFunction.apply(lines, *values)
        return result


class SumReLUFunction(torch.autograd.Function):
    """relu(sum_i scale_i values_i + shift_i); the gradient is that of the values."""

    @staticmethod
    def forward(ctx: Any, lines: Lines, *values: Tensor) -> Tensor:  # noqa: D102
        scales = [scale for scale, _ in lines]
        run = kernel(sum_relu, (values[0].dtype, *(scale is None for scale in scales)))
        result: Tensor = run([value.detach() for value in values], lines)
        ctx.save_for_backward(result, *scales)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: D102
        result, *scales = ctx.saved_tensors
        run = kernel(sum_relu_backward, (result.dtype, *(s is None for s in scales)))
        return None, *run(gradient, result.detach(), scales)


def sum_relu(values: Sequence[Tensor], lines: Lines) -> Tensor:
    """relu(sum_i scale_i values_i + shift_i); plain tensors have no scale or shift."""
    total = torch.zeros((), device=values[0].device)
    for value, (scale, shift) in zip(values, lines, strict=True):
        x = wide(value)
        if scale is not None and shift is not None:
            x = x * scale[:, None, None] + shift[:, None, None]
        total = total + x
    return total.relu().to(values[0].dtype)


def sum_relu_backward(
    gradient: Tensor, result: Tensor, scales: Sequence[Tensor | None]
) -> list[Tensor]:
    """The gradients of the values, in the precision of the result."""
    through = torch.where(result > 0, wide(gradient), 0.0)
    return [
        (through if scale is None else through * scale[:, None, None]).to(result.dtype)
        for scale in scales
    ]


def frozen(network: Network) -> Network:
    """The same network with fused kernels; it shares parameters and layer names."""

    def convolution(spec: ConvBN) -> nn.Module:
        return FrozenConvBN(spec, cast("ConvBNLayer", network.layers[spec.name]))

    return Network(
        network.blueprint,
        lambda _: FrozenSumReLU(),
        convolution=convolution,
        head=lambda spec: network.layers[spec.name],
    ).eval()
