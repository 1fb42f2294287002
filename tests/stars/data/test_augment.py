"""Augmentation only moves pixels, with random numbers of the given generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stars.data.augment import augment, mix, mixing


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(batch: int = 64, channels: int = 2) -> torch.Tensor:
    """Images in which every pixel has its own value, from 1."""
    one = torch.arange(1, channels * 5 * 6 + 1, dtype=torch.uint8)
    return one.reshape(1, channels, 5, 6).repeat(batch, 1, 1, 1)


def test_without_flip_and_crop_nothing_changes():
    x = images()
    assert torch.equal(augment(x, rng(), flip=False, crop=0), x)


def test_a_flip_mirrors_about_half_of_the_images():
    x = images()
    turned = augment(x, rng(), flip=True, crop=0)
    same = (turned == x).flatten(1).all(1)
    mirrored = (turned == x.flip(-1)).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 16 < int(mirrored.sum()) < 48


def test_a_crop_shifts_each_image_and_fills_with_zeros():
    x = images(batch=200)
    shifted = augment(x, rng(), flip=False, crop=2)
    assert shifted.shape == x.shape
    assert shifted.dtype == x.dtype
    padded = torch.nn.functional.pad(x[0], (2, 2, 2, 2))
    windows = {
        (i, j): padded[:, i : i + 5, j : j + 6] for i in range(5) for j in range(5)
    }
    found = [
        next(k for k, window in windows.items() if torch.equal(window, image))
        for image in shifted
    ]
    assert set(found) == set(windows)


def test_the_same_generator_gives_the_same_images():
    x = images()
    a, b = (augment(x, rng(5), flip=True, crop=1) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, augment(x, rng(6), flip=True, crop=1))


def test_mix_leaves_a_share_alone_and_blends_the_rest_with_a_neighbor():
    x = torch.arange(400.0).reshape(400, 1, 1, 1)
    mixed = mix(x, mixing(400, rng(), 0.25))
    blended = (mixed != x).flatten()
    assert 60 < int(blended.sum()) < 140
    low, high = torch.minimum(x, x.roll(1, 0)), torch.maximum(x, x.roll(1, 0))
    assert bool(((mixed >= low - 1e-3) & (mixed <= high + 1e-3)).all())


@pytest.mark.parametrize("share", [0.0, 0])
def test_no_share_mixes_nothing(share):
    x = images().float()
    assert torch.equal(mix(x, mixing(len(x), rng(), share)), x)
