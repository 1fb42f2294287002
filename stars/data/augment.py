"""Augmentation of image batches, with random numbers from a given generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor, rng: np.random.Generator, *, flip: bool, crop: int
) -> Tensor:
    """Images [B, C, H, W], mirrored at random and shifted by up to `crop` pixels."""
    batch, _, height, width = images.shape
    if flip:
        mirrored = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None, None]
        images = torch.where(mirrored, images.flip(-1), images)
    if crop:
        padded = F.pad(images, (crop, crop, crop, crop))
        down = torch.from_numpy(rng.integers(0, 2 * crop + 1, batch))
        right = torch.from_numpy(rng.integers(0, 2 * crop + 1, batch))
        rows = (down[:, None] + torch.arange(height))[:, None, :, None]
        columns = (right[:, None] + torch.arange(width))[:, None, None, :]
        samples = torch.arange(batch)[:, None, None, None]
        channels = torch.arange(images.shape[1])[None, :, None, None]
        images = padded[samples, channels, rows, columns]
    return images


def mixing(batch: int, rng: np.random.Generator, share: float) -> Tensor:
    """Weights for `mix`, [B]: U(0, 1) for a random `share` of the images, else 1."""
    if share == 0:
        return torch.ones(batch)
    blend = rng.random(batch, dtype=np.float32)
    return torch.from_numpy(np.where(rng.random(batch) < share, blend, np.float32(1)))


def mix(values: Tensor, weights: Tensor) -> Tensor:
    """Images or labels [B, ...], each blended with another one of the batch.

    x_b <- c_b x_b + (1 - c_b) x_{b-1}

    Source: Zhang et al. 2018 (mixup), arXiv:1710.09412.
    Differs: weights are uniform; most losses use the teacher's outputs for the mixture
        instead of mixed labels.
    """
    c = weights.to(values.device).view(-1, *[1] * (values.ndim - 1))
    return c * values + (1 - c) * values.roll(1, 0)
