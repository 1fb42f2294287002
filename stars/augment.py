"""Augmentation of image batches; every random number comes from a passed generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor, rng: np.random.Generator, *, flip: bool, crop: int
) -> Tensor:
    """Each image [B, C, H, W] mirrored by chance, shifted by up to `crop` pixels."""
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


def mix(images: Tensor, rng: np.random.Generator, share: float) -> Tensor:
    """A `share` of the images blended with another one of the batch.

    x_b <- c x_b + (1 - c) x_{b-1},  c ~ U(0, 1); the labels are the teacher's own.

    Source: Zhang et al. 2018 (mixup), arXiv:1710.09412.
    Differs: the target is the teacher's answer to the mixture, not a mixture of labels.
    """
    if share == 0:
        return images
    batch = len(images)
    blend = rng.random(batch, dtype=np.float32)
    kept = np.where(rng.random(batch) < share, blend, np.float32(1))
    c = torch.from_numpy(kept).to(images.device)[:, None, None, None]
    return c * images + (1 - c) * images.roll(1, 0)
