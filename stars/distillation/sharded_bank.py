"""ShardedBank: an image bank that is split over the processes."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.distillation.image_bank import ImageBank, as_pixels
from stars.runtime.distributed import processes, rank, sum_in_place


class ShardedBank(ImageBank):
    """An ImageBank in which process n mod P holds the nth image that was added.

    It returns the same images as a bank in one process. So all processes must ask for
    the same images at the same time.

    Args:
        capacity: the largest M, over all processes.

    Attributes:
        images: the part of this process, uint8.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.begin = 0  # serial number of the oldest image
        self.end = 0  # serial number of the next image

    def __len__(self) -> int:
        """M."""
        return self.end - self.begin

    def fill(self, images: Tensor) -> None:
        """Replace the content by this process's part of uint8 [M, C, H, W]."""
        self.begin, self.end = 0, len(images)
        self.images = images[rank() :: processes()].clone()

    def add(self, images: Tensor) -> None:
        """Append pixels / 255 [N, C, H, W], which are equal in all processes."""
        own = as_pixels(images)[(rank() - self.end) % processes() :: processes()]
        both = own if self.images is None else torch.cat([self.images, own])
        self.end += len(images)
        self.begin = max(self.begin, self.end - self.capacity)
        kept = len(range(self._oldest(), self.end, processes()))
        self.images = both[len(both) - kept :].clone()

    def at(self, places: Tensor) -> Tensor:
        """The images at these places, whichever process holds them."""
        held = self.held()
        serial = self.begin + places
        mine = serial % processes() == rank()
        found = torch.zeros(len(places), *held.shape[1:], dtype=torch.uint8)
        found[mine] = held[(serial[mine] - self._oldest()) // processes()]
        return sum_in_place(found)

    def _oldest(self) -> int:
        """The serial number of the oldest image that this process holds."""
        return self.begin + (rank() - self.begin) % processes()


def image_bank(capacity: int) -> ImageBank:
    """An image bank, split over the processes if there are several."""
    return ShardedBank(capacity) if processes() > 1 else ImageBank(capacity)
