"""Random views of image batches, through which gradients flow.

Every process draws the windows of the whole batch and uses those of its rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stars.runtime.distributed import processes, share


def shifted(pixels: Tensor) -> Tensor:
    """Each image [B, C, H, W] shifted by up to an eighth of its sides, and mirrored.

    Shifts are whole pixels, up to 4 of 32; the border is filled with 0.
    """
    batch, (height, width) = processes() * len(pixels), pixels.shape[2:]
    rows, columns = (
        torch.randint(-(size // 8), size // 8 + 1, (batch,)) * 2 / size
        for size in (height, width)
    )
    return seen_through(pixels, torch.ones(batch), columns, rows)


def zoomed(pixels: Tensor, smallest: float = 0.25) -> Tensor:
    """A random square part of each image [B, C, H, W], enlarged and mirrored.

    Args:
        pixels: images.
        smallest: the smallest share of the area.
    """
    batch = processes() * len(pixels)
    size = (smallest + (1 - smallest) * torch.rand(batch)).sqrt()
    columns, rows = ((1 - size) * (2 * torch.rand(batch) - 1) for _ in range(2))
    return seen_through(pixels, size, columns, rows)


def seen_through(pixels: Tensor, size: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Windows of `size` times the image, mirrored at random, with bilinear sampling.

    Args:
        pixels: [B, C, H, W], this process's rows.
        size: of each window of the whole batch, [B].
        columns: x of its center, in -1..1, [B].
        rows: y of its center, in -1..1, [B].
    """
    mirror = torch.randint(2, size.shape) * 2 - 1
    nothing = torch.zeros_like(size)
    windows = torch.stack(
        [
            torch.stack([mirror * size, nothing, columns], 1),
            torch.stack([nothing, size, rows], 1),
        ],
        1,
    )
    windows = share(windows).to(pixels)
    grid = F.affine_grid(windows, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)
