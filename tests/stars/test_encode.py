"""The direct encoding: levels by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from stars.encode import DirectEncoding
from stars.errors import DataError, GraphError


def test_levels_by_hand():
    levels = DirectEncoding((0.5,), (0.25,), exponent=-5).levels()
    assert levels.shape == (1, 256)
    # (0 - .5) / .25 = -2 = -64 / 32; 128 / 255 is .25 of a step above 0
    assert levels[0, [0, 127, 128, 255]].tolist() == [-64, 0, 0, 64]


def test_levels_end_at_127():
    levels = DirectEncoding((0.5,), (0.1,), exponent=-5).levels()
    assert (levels.min(), levels.max()) == (-127, 127)


def test_each_channel_has_its_own_mean_and_deviation():
    encoding = DirectEncoding((0.0, 1.0), (1.0, 0.5), exponent=-4)
    images = np.full((1, 2, 1, 1), 255, np.uint8)
    assert encoding.encode(images, 1).ravel().tolist() == [1.0, 0.0]


def test_an_image_is_held_for_all_steps_without_copies():
    images = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    inputs = DirectEncoding((0.0,), (0.01,)).encode(images, 5)
    assert inputs.shape == (5, 1, 1, 2, 2)
    assert inputs.strides[0] == 0
    np.testing.assert_array_equal(inputs[0], inputs[4])
    np.testing.assert_array_equal(inputs * 32, np.rint(inputs * 32))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 1, 2, 2)),
        np.zeros((1, 3, 2, 2), np.uint8),
        np.zeros((1, 2, 2), np.uint8),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(DataError, match="expected uint8"):
        DirectEncoding((0.0,), (1.0,)).encode(images, 1)


@pytest.mark.parametrize(
    ("mean", "deviation"), [((0,), (1, 1)), ((), ()), ((0,), (0,))]
)
def test_impossible_statistics_are_refused(mean, deviation):
    with pytest.raises(GraphError):
        DirectEncoding(mean, deviation)
