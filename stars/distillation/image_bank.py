"""ImageBank: the synthetic images that stand in for the data nobody may touch."""

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
    """Images as a camera would give them: uint8 [M, C, H, W]; the oldest make room.

    Args:
        capacity: M at most.
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
        # A copy: a view would carry what it left out into every checkpoint.
        self.images = both[-self.capacity :].clone()

    def drawn(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """`count` images, uint8 [count, C, H, W], drawn with replacement, and places.

        Raises:
            DataError: the bank is empty.
        """
        self.held()
        places = torch.from_numpy(rng.integers(0, len(self), count))
        return self.at(places), places

    def at(self, places: Tensor) -> Tensor:
        """The images at these places, 0 the oldest: uint8 [N, C, H, W].

        Raises:
            DataError: the bank is empty.
        """
        return self.held()[places]

    def held(self) -> Tensor:
        """What is held here, uint8.

        Raises:
            DataError: the bank is empty.
        """
        if self.images is None:
            raise DataError("the image bank is empty; synthesize before training")
        return self.images

    def whole(self) -> Tensor:
        """All images, the oldest first: uint8 [M, C, H, W]; what `fill` takes."""
        return self.at(torch.arange(len(self)))

    def fill(self, images: Tensor) -> None:
        """Hold uint8 [M, C, H, W], and nothing else."""
        self.images = images

    def newest(self, count: int) -> NDArray[np.uint8]:
        """The last `count` images that were added, or all: uint8 [N, C, H, W].

        Raises:
            DataError: the bank is empty.
        """
        if not len(self):
            raise DataError("the image bank is empty; there is nothing to show")
        first = max(0, len(self) - count)
        images: NDArray[np.uint8] = self.at(torch.arange(first, len(self))).numpy()
        return images

    def write_png(self, path: Path | None, rows: int = 10, columns: int = 16) -> None:
        """The newest images as one picture of `rows` x `columns`, all or nothing.

        Three channels are shown in color; of any other number the first, in gray.
        A process that is not to write, but holds some of the images, gives no path.
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
    """Pixels / 255 in 0..1 as uint8, on the CPU."""
    return (images.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8)
