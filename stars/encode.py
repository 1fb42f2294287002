"""From 8-bit images to a graph's input, one encoding per class.

An encoding is data: it travels in the files' metadata, so that whoever holds a file
and an image can make the very same input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stars.errors import DataError, GraphError
from stars.nodes.base import Array

LEVELS = 127  # the largest signed 8-bit magnitude that every target carries


@dataclass(frozen=True)
class DirectEncoding:
    """The normalised image, rounded to a signed 8-bit grid, handed in at every step.

        q = clip(round((p / 255 - mean) / deviation / 2^exponent), -127, 127)
        x_t = q 2^exponent          (round half to even)

    Args:
        mean, deviation: per channel, of pixel values in 0..1.
        exponent: log2 of the grid's step; the input is exact in float32 and on chip.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    exponent: int = -5

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(m) for m in self.mean))
        object.__setattr__(self, "deviation", tuple(float(d) for d in self.deviation))
        if len(self.mean) != len(self.deviation) or not self.mean:
            raise GraphError(
                f"mean has {len(self.mean)} channels, deviation {len(self.deviation)};"
                " they must be equal and at least 1"
            )
        if not min(self.deviation) > 0:
            raise GraphError(f"deviation is {self.deviation}; every value must be > 0")

    def levels(self) -> NDArray[np.int64]:
        """The integer that each pixel value becomes, [C, 256]."""
        pixels = np.arange(256) / 255.0
        mean, deviation = np.array(self.mean), np.array(self.deviation)
        normal = (pixels - mean[:, None]) / deviation[:, None]
        rounded = np.rint(normal * 2.0**-self.exponent)
        clipped: NDArray[np.int64] = np.clip(rounded, -LEVELS, LEVELS).astype(np.int64)
        return clipped

    def encode(self, images: NDArray[np.uint8], steps: int) -> Array:
        """Images [B, C, H, W] -> inputs [T, B, C, H, W], one image held for all steps.

        The result is a read-only view: the T steps share their memory.

        Raises:
            DataError: not uint8, or of another number of axes or channels.
        """
        channels = len(self.mean)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != channels:
            raise DataError(
                f"images are {images.dtype} {images.shape}, expected uint8"
                f" [B, {channels}, H, W]"
            )
        table = self.levels() * 2.0**self.exponent
        held = np.stack([table[c][images[:, c]] for c in range(channels)], axis=1)
        return np.broadcast_to(held, (steps, *held.shape))
