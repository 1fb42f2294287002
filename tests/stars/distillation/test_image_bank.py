"""The image bank: uint8 images, the oldest dropped first, and a picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from stars.distillation.image_bank import ImageBank
from stars.errors import DataError


def gray(*levels: int) -> torch.Tensor:
    """Images [N, 1, 2, 2], each of one level of 0..255, as pixels / 255."""
    return torch.tensor(levels)[:, None, None, None].expand(-1, 1, 2, 2) / 255


def levels(bank: ImageBank) -> list[int]:
    return [int(image[0, 0, 0]) for image in bank.images]


def test_images_are_rounded_to_eight_bits():
    bank = ImageBank(10)
    bank.add(
        torch.tensor([-0.1, 0.0, 0.4999 / 255, 0.51 / 255, 1.0, 1.2]).reshape(
            6, 1, 1, 1
        )
    )
    assert bank.images.dtype == torch.uint8
    assert levels(bank) == [0, 0, 0, 1, 255, 255]


def test_the_oldest_make_room():
    bank = ImageBank(3)
    bank.add(gray(1, 2))
    bank.add(gray(3, 4))
    assert levels(bank) == [2, 3, 4]
    assert len(bank) == 3


def test_what_made_room_takes_no_place_in_a_checkpoint():
    bank = ImageBank(2)
    for _ in range(3):
        bank.add(torch.zeros(500, 1, 8, 8))
    file = io.BytesIO()
    torch.save(bank.images, file)
    assert file.tell() < 10_000


def test_samples_are_drawn_from_all_images_by_the_passed_generator():
    bank = ImageBank(4)
    bank.add(gray(1, 2, 3, 4))
    drawn = bank.drawn(200, np.random.default_rng(0))[0]
    assert drawn.shape == (200, 1, 2, 2)
    assert set(drawn[:, 0, 0, 0].tolist()) == {1, 2, 3, 4}
    assert torch.equal(drawn, bank.drawn(200, np.random.default_rng(0))[0])


def test_an_empty_bank_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="empty; synthesize before training"):
        ImageBank(4).drawn(1, np.random.default_rng(0))
    with pytest.raises(DataError, match="nothing to show"):
        ImageBank(4).write_png(tmp_path / "a.png")


def test_the_picture_shows_the_newest_in_rows(tmp_path):
    bank = ImageBank(10)
    bank.add(gray(9, 10, 20, 30, 40))
    bank.write_png(tmp_path / "a.png", rows=2, columns=2)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (4, 4)
    assert picture[::2, ::2].tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(("channels", "shape"), [(3, (2, 6, 3)), (2, (2, 6))])
def test_places_without_an_image_are_black(tmp_path, channels, shape):
    bank = ImageBank(10)
    bank.add(torch.ones(2, channels, 2, 2))
    bank.write_png(tmp_path / "a.png", rows=1, columns=3)
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == shape
    assert picture[:, :4].min() == 255
    assert picture[:, 4:].max() == 0
