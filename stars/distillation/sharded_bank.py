"""ShardedBank: an image bank of which every process holds its part."""

from __future__ import annotations

import torch
from torch import Tensor

from stars.distillation.image_bank import ImageBank, as_pixels
from stars.runtime.distributed import processes, rank, sum_in_place


class ShardedBank(ImageBank):
    """An ImageBank in which the image that came as the nth is held by process n mod P.

    Whoever asks for images gets those that the bank in one process would give, so all
    processes must ask for the same ones, at the same time.

    Args:
        capacity: M at most, of all processes.

    Attributes:
        images: the own part, uint8.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.begin = 0  # serial number of the oldest image
        self.end = 0  # of the next one

    def __len__(self) -> int:
        """M."""
        return self.end - self.begin

    def fill(self, images: Tensor) -> None:
        """Hold the own part of uint8 [M, C, H, W], and nothing else."""
        self.begin, self.end = 0, len(images)
        self.images = images[rank() :: processes()].clone()

    def add(self, images: Tensor) -> None:
        """Append pixels / 255 [N, C, H, W], the same in all processes."""
        own = as_pixels(images)[(rank() - self.end) % processes() :: processes()]
        both = own if self.images is None else torch.cat([self.images, own])
        self.end += len(images)
        self.begin = max(self.begin, self.end - self.capacity)
        kept = len(range(self._oldest(), self.end, processes()))
        self.images = both[len(both) - kept :].clone()

    def at(self, places: Tensor) -> Tensor:
        """The images at these places, from whoever holds them."""
        held = self.held()
        serial = self.begin + places
        mine = serial % processes() == rank()
        found = torch.zeros(len(places), *held.shape[1:], dtype=torch.uint8)
        found[mine] = held[(serial[mine] - self._oldest()) // processes()]
        return sum_in_place(found)

    def _oldest(self) -> int:
        """Serial number of the oldest image of the own part."""
        return self.begin + (rank() - self.begin) % processes()


def image_bank(capacity: int) -> ImageBank:
    """A bank that is shared where there are processes to share it."""
    return ShardedBank(capacity) if processes() > 1 else ImageBank(capacity)
