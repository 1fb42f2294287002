"""ImageBank: the synthetic images that replace the training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stars.errors import DataError
from stars.files.writing import atomic


class ImageBank:
    """Up to `capacity` images, uint8 [M, C, H, W]; new ones replace the oldest.

    Args:
        capacity: the largest M.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.images: Tensor | None = None

    def __len__(self) -> int:
        """M."""
        return 0 if self.images is None else len(self.images)

    def add(self, images: Tensor) -> None:
        """Append pixels / 255 in 0..1, [N, C, H, W], rounded to uint8."""
        new = as_pixels(images)
        both = new if self.images is None else torch.cat([self.images, new])
        # A copy, because a view would save the dropped images in every checkpoint.
        self.images = both[-self.capacity :].clone()

    def drawn(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`count` images drawn with replacement, uint8 [count, C, H, W], and places.

        Raises:
            DataError: the bank is empty.
        """
        self.held()
        places = torch.from_numpy(rng.integers(0, len(self), count))
        return self.at(places), places

    def at(self, places: Tensor) -> Tensor:
        """The images at these places, uint8 [N, C, H, W]; place 0 is the oldest.

        Raises:
            DataError: the bank is empty.
        """
        return self.held()[places]

    def held(self) -> Tensor:
        """The images that this process holds, uint8.

        Raises:
            DataError: the bank is empty.
        """
        if self.images is None:
            raise DataError("the image bank is empty; synthesize before training")
        return self.images

    def whole(self) -> Tensor:
        """All images, the oldest first: uint8 [M, C, H, W]."""
        return self.at(torch.arange(len(self)))

    def fill(self, images: Tensor) -> None:
        """Replace the content by uint8 [M, C, H, W]."""
        self.images = images

    def newest(self, count: int) -> NDArray[np.uint8]:
        """The newest `count` images, or all if these are fewer: uint8 [N, C, H, W].

        Raises:
            DataError: the bank is empty.
        """
        if not len(self):
            raise DataError("the image bank is empty; there is nothing to show")
        first = max(0, len(self) - count)
        images: NDArray[np.uint8] = self.at(torch.arange(first, len(self))).numpy()
        return images

    def write_png(self, path: Path | None, rows: int = 10, columns: int = 16) -> None:
        """Write the newest images as one picture of `rows` x `columns`, atomically.

        Three channels are shown in color, otherwise the first channel in gray. A
        process that must not write, but holds some of the images, gives no path.
        """
        newest = self.newest(rows * columns)
        if path is None:
            return
        blank = np.zeros((rows * columns - len(newest), *newest.shape[1:]), np.uint8)
        tiles = np.concatenate([newest, blank])
        _, channels, height, width = tiles.shape
        sheet = tiles.reshape(rows, columns, channels, height, width)
        sheet = sheet.transpose(0, 3, 1, 4, 2).reshape(
            rows * height, columns * width, -1
        )
        picture = Image.fromarray(sheet if channels == 3 else sheet[..., 0])
        with atomic(path) as temporary:
            picture.save(temporary)


def as_pixels(images: Tensor) -> Tensor:
    """Pixels / 255 in 0..1 -> uint8 on the CPU."""
    return (images.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
