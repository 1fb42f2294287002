"""Random views of image batches, through which gradients flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def shifted(pixels: Tensor) -> Tensor:
    """Each image [B, C, H, W] moved by up to an eighth of its sides, and mirrored.

    Whole pixels; what comes in at the border is 0. Of 32 pixels, 4.
    """
    batch, _, height, width = pixels.shape
    rows, columns = (
        torch.randint(-(size // 8), size // 8 + 1, (batch,)) * 2 / size
        for size in (height, width)
    )
    return seen_through(pixels, torch.ones(batch), columns, rows)


def zoomed(pixels: Tensor, smallest: float = 0.25) -> Tensor:
    """A square part of each image [B, C, H, W] in its full size, and mirrored.

    Args:
        pixels: images.
        smallest: share of the area that a part has at least.
    """
    batch = len(pixels)
    size = (smallest + (1 - smallest) * torch.rand(batch)).sqrt()
    columns, rows = ((1 - size) * (2 * torch.rand(batch) - 1) for _ in range(2))
    return seen_through(pixels, size, columns, rows)


def seen_through(pixels: Tensor, size: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Windows of `size` times the image, by chance mirrored; bilinear.

    Args:
        pixels: [B, C, H, W].
        size: of each window, [B].
        columns: of its centre, in -1..1, [B].
        rows: likewise.
    """
    mirror = torch.randint(2, size.shape) * 2 - 1
    nothing = torch.zeros_like(size)
    windows = torch.stack(
        [
            torch.stack([mirror * size, nothing, columns], 1),
            torch.stack([nothing, size, rows], 1),
        ],
        1,
    ).to(pixels)
    grid = F.affine_grid(windows, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)
