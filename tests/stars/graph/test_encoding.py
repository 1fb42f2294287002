"""The encodings: values by hand, laws, and what they refuse."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from stars.errors import DataError, GraphError
from stars.graph.encoding import (
    DirectEncoding,
    LatencyEncoding,
    PoissonEncoding,
    from_entries,
    to_entries,
)


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


def gray(*pixels):
    """One image of these pixels."""
    return np.array(pixels, np.uint8).reshape(1, 1, 1, -1)


def test_poisson_spikes_at_the_rate_of_the_pixel():
    images = gray(*([0] * 500), *([51] * 500), *([255] * 500))
    spikes = PoissonEncoding(rate=0.5, seed=7).encode(images, 400)
    rates = spikes.reshape(400, 3, 500).mean(axis=(0, 2))
    assert rates[0] == 0
    # 200000 coins: a deviation of sqrt(p (1 - p) / n) = .0007 at .1 and .0011 at .5
    np.testing.assert_allclose(rates, [0, 0.1, 0.5], atol=0.005)


def test_poisson_is_the_published_generator_number_by_number():
    image = gray(255, 128, 1)
    encoding = PoissonEncoding(seed=2**64 - 1)
    digest = hashlib.sha256(bytes([255, 128, 1])).digest()
    key = (2**64 - 1) | int.from_bytes(digest[:8], "little") << 64
    raw = [int(r) for r in np.random.Philox(key=key).random_raw(6)]
    chance = [1.0, 128 / 255, 1 / 255]
    expected = [(r >> 11) / 2**53 < chance[i % 3] for i, r in enumerate(raw)]
    assert encoding.encode(image, 2).ravel().tolist() == expected


def test_poisson_of_an_image_depends_on_the_seed_and_the_image_alone():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 4), dtype=np.uint8)
    spikes = PoissonEncoding(seed=1).encode(images, 8)
    again = PoissonEncoding(seed=1).encode(images[[2, 0]], 5)
    np.testing.assert_array_equal(again, spikes[:5, [2, 0]])
    assert (PoissonEncoding(seed=2).encode(images, 8) != spikes).any()
    assert (spikes[:, 0] != spikes[:, 1]).any()
    assert set(np.unique(spikes)) == {0.0, 1.0}


def test_white_spikes_at_every_step_at_rate_one():
    assert PoissonEncoding().encode(gray(255), 50).all()


def test_latency_by_hand():
    spikes = LatencyEncoding().encode(gray(255, 204, 127, 128, 1, 0), 6)
    # 5 (1 - p / 255): 0, 1, 2.51 -> 3, 2.49 -> 2, 4.98 -> 5, and black never
    times = [spikes[:, 0, 0, 0, i].nonzero()[0].tolist() for i in range(6)]
    assert times == [[0], [1], [3], [2], [5], []]


@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_the_brighter_the_earlier_and_at_most_once(steps):
    spikes = LatencyEncoding(threshold=10).encode(gray(*range(256)), steps)
    counts = spikes.sum(axis=0).ravel()
    assert counts[:10].tolist() == [0] * 10
    assert (counts[10:] == 1).all()
    times = spikes.argmax(axis=0).ravel()[10:]
    assert (np.diff(times) <= 0).all()
    assert times[-1] == 0


ENCODINGS = [
    DirectEncoding((0.1, 0.2), (0.3, 0.4), -4),
    PoissonEncoding(0.25, 2**63),
    LatencyEncoding(3),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_as_plain_values_and_back(encoding):
    text = json.dumps(to_entries(encoding))
    assert from_entries(json.loads(text)) == encoding


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PoissonEncoding(rate=0), "rate is 0 spikes a step"),
        (lambda: PoissonEncoding(rate=1.5), "expected 0 < rate <= 1"),
        (lambda: PoissonEncoding(seed=-1), "seed is -1"),
        (lambda: LatencyEncoding(256), "threshold is 256; expected 0 to 255"),
        (lambda: from_entries({"kind": "rank"}), "known are direct, poisson, latency"),
        (lambda: from_entries({"kind": "latency", "rate": 1}), "'latency' has entries"),
    ],
)
def test_an_impossible_encoding_is_refused(make, message):
    with pytest.raises(GraphError, match=message):
        make()


@pytest.mark.parametrize("encoding", ENCODINGS[1:])
def test_images_of_another_type_are_refused(encoding):
    with pytest.raises(DataError, match="expected uint8"):
        encoding.encode(np.zeros((1, 1, 2, 2)), 1)
