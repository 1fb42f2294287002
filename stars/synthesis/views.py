"""Random views of image batches, through which gradients flow.

Where processes share a batch, all draw the windows of the whole one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stars.runtime.distributed import processes, share


def shifted(pixels: Tensor) -> Tensor:
    """Each image [B, C, H, W] moved by up to an eighth of its sides, and mirrored.

    Whole pixels; what comes in at the border is 0. Of 32 pixels, 4.
    """
    batch, (height, width) = processes() * len(pixels), pixels.shape[2:]
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
    batch = processes() * len(pixels)
    size = (smallest + (1 - smallest) * torch.rand(batch)).sqrt()
    columns, rows = ((1 - size) * (2 * torch.rand(batch) - 1) for _ in range(2))
    return seen_through(pixels, size, columns, rows)


def seen_through(pixels: Tensor, size: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Windows of `size` times the image, by chance mirrored; bilinear.

    Args:
        pixels: [B, C, H, W]; of a batch that processes share, the rows of this one.
        size: of each window, [B], those of the whole batch.
        columns: of its center, in -1..1, [B].
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
    )
    windows = share(windows).to(pixels)
    grid = F.affine_grid(windows, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)
