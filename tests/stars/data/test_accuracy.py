"""Accuracy counts every image once."""

from __future__ import annotations

import numpy as np
import torch

from stars.data import accuracy
from stars.data.images import LabeledImages


def test_it_is_the_share_of_all_images_over_uneven_chunks(monkeypatch):
    """Ten images in chunks of four; pixel 0 is the prediction; seven labels agree."""
    monkeypatch.setattr(accuracy, "CHUNK", 4)
    named = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    labels = named.copy()
    labels[[0, 5, 9]] = 1, 0, 2
    images = named.astype(np.uint8)[:, None, None, None]
    sizes = []

    def scores(chunk: np.ndarray) -> torch.Tensor:
        sizes.append(len(chunk))
        return torch.eye(3)[torch.from_numpy(chunk).flatten().long()]

    assert accuracy.share_right(scores, LabeledImages(images, labels)) == 0.7
    assert sizes == [4, 4, 2]
