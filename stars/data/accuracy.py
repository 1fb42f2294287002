"""Accuracy on labeled images, defined once for teachers and students."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.data.images import LabeledImages

CHUNK = 500  # images per pass


def share_right(
    scores: Callable[[NDArray[np.uint8]], Tensor], test: LabeledImages
) -> float:
    """The share of `test` whose largest score is the label's, 0 to 1.

    Args:
        scores: uint8 images [B, C, H, W] -> [B, K].
        test: all images are used.
    """
    right = 0
    with torch.no_grad():
        for start in range(0, len(test), CHUNK):
            chunk = slice(start, start + CHUNK)
            named = scores(test.images[chunk]).argmax(1).cpu().numpy()
            right += int((named == test.labels[chunk]).sum())
    return right / len(test)
