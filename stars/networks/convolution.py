"""Convolutions that avoid a fault of oneDNN.

On processors with AVX2 and no AVX-512, the gradient of the weights of a 1 x 1
convolution with a stride corrupts memory in channels-last layout (oneDNN 3.12, its
kernel jit_1x1:avx2, for example 3 to 4 channels, 8 x 8 pixels, stride 2). Such a
convolution reads every s-th pixel, so it is the same convolution with stride 1 of
those pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> Tensor:
    """The convolution [N, C, H, W] -> [N, C', H', W'], without the fault."""
    if weight.shape[2:] == (1, 1) and not padding and stride > 1:
        x, stride = x[:, :, ::stride, ::stride], 1
    return F.conv2d(x, weight, bias, stride, padding)


class Conv2d(nn.Conv2d):
    """A convolution without bias, computed by `conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return conv2d(x, self.weight, None, self.stride[0], int(self.padding[0]))
