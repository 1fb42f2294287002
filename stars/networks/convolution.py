"""Convolutions that avoid a bug of oneDNN.

On processors with AVX2 but without AVX-512, the weight gradient of a strided 1 x 1
convolution corrupts memory in channels-last layout (oneDNN 3.12, kernel jit_1x1:avx2,
for example 3 to 4 channels, 8 x 8 pixels, stride 2). Such a convolution reads every
s-th pixel. So it equals a convolution with stride 1 over those pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
) -> Tensor:
    """The convolution [N, C, H, W] -> [N, C', H', W'], without the bug."""
    if weight.shape[2:] == (1, 1) and not padding and stride > 1:
        x, stride = x[:, :, ::stride, ::stride], 1
    return F.conv2d(x, weight, bias, stride, padding)


class Conv2d(nn.Conv2d):
    """A convolution without bias, computed by `conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return conv2d(x, self.weight, None, self.stride[0], int(self.padding[0]))
