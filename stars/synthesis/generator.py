"""Generator networks: noise, with or without a label, to images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stars.graph.nodes.base import Shape
from stars.networks.batch_norm import BatchNorm2d
from stars.runtime.device import wide

LABEL_SCALE = 7.0  # of the one-hot vector; the noise has deviation 1


class Generator(nn.Module):
    """A linear layer for noise, or noise and label, then two upsampling stages.

    `forget` re-initializes the linear layer. A conditional generator that keeps this
    layer learns one image per class; resetting it each round avoids that.

    Args:
        image_shape: (C, H, W); the first stage has a quarter of H and W, rounded up.
        latent: length of the noise vector.
        width: channels of the last hidden layer; the first has twice as many.
        classes: K, the length of one-hot labels; 0 for noise without labels.

    Source: layers as in Fang et al. 2022 (Fast), arXiv:2112.06253, authors' code;
        the re-initialized layer after Tran et al. 2024 (NAYER), arXiv:2310.00258.
    Differs: one-hot labels instead of text embeddings; noise in addition to the label;
        half as wide by default.
    """

    def __init__(
        self,
        image_shape: Shape,
        *,
        latent: int = 128,
        width: int = 32,
        classes: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        self.image_shape = image_shape
        self.classes = classes
        self.latent = latent
        self.start = (2 * width, (height + 3) // 4, (width_px + 3) // 4)
        features = self.start[0] * self.start[1] * self.start[2]
        self.embed = nn.Linear(latent + classes, features)
        self.body = nn.Sequential(
            BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, bias=False),
            BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, 1, 1, bias=False),
            BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, 1, 1),
        )

    def forget(self) -> None:
        """Give the linear layer new random weights."""
        self.embed.reset_parameters()

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise [B, latent], labels [B] -> pixels / 255 in 0..1, [B, C, H, W].

        Args:
            noise: standard normal.
            labels: needed if `classes` is set.
        """
        if labels is not None:
            one_hot = F.one_hot(labels, self.classes).to(noise.dtype)
            noise = torch.cat([noise, one_hot * LABEL_SCALE], dim=1)
        x = self.embed(noise).unflatten(1, self.start)
        x = x.contiguous(memory_format=torch.channels_last)
        _, height, width = self.image_shape
        return torch.sigmoid(wide(self.body(x))[:, :, :height, :width])
