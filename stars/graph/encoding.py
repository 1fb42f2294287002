"""Encodings: how 8-bit images become a graph's input. One class each.

An encoding is data that is stored in a file's metadata. So anyone with the file and an
image can compute the same input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stars.errors import DataError, GraphError
from stars.graph.nodes.base import Array

LEVELS = 127  # the largest input magnitude: signed 8 bits on every target
WHITE = 255  # the largest pixel value
SEEDS = range(2**64)


class Encoding(Protocol):
    """Turns images into a graph's input; a frozen dataclass of plain values."""

    @property
    def exponent(self) -> int:
        """log2 of the input's grid: every value is an integer times 2^exponent."""

    def encode(self, images: NDArray[np.uint8], steps: int) -> Array:
        """Inputs [T, B, C, H, W] of images [B, C, H, W].

        An image's input depends only on the encoding, the image and T.

        Raises:
            DataError: images are not uint8, or have a wrong number of axes or channels.
        """


@dataclass(frozen=True)
class DirectEncoding:
    """The normalized image, rounded to a signed 8-bit grid; the input of every step.

        q = clip(round((p / 255 - mean) / deviation / 2^exponent), -127, 127)
        x_t = q 2^exponent          (round half to even)

    Args:
        mean, deviation: of each channel's pixel values in 0..1.
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
                " both numbers must be equal and at least 1"
            )
        if not min(self.deviation) > 0:
            raise GraphError(f"deviation is {self.deviation}; every value must be > 0")

    def levels(self) -> NDArray[np.int64]:
        """The integer for each channel and pixel value, [C, 256]."""
        pixels = np.arange(256) / 255.0
        mean, deviation = np.array(self.mean), np.array(self.deviation)
        normal = (pixels - mean[:, None]) / deviation[:, None]
        rounded = np.rint(normal * 2.0**-self.exponent)
        clipped: NDArray[np.int64] = np.clip(rounded, -LEVELS, LEVELS).astype(np.int64)
        return clipped

    def encode(self, images: NDArray[np.uint8], steps: int) -> Array:
        """Inputs [T, B, C, H, W] of images [B, C, H, W], equal at all steps.

        The result is a read-only view: the T steps share their memory.

        Raises:
            DataError: images are not uint8, or have a wrong number of axes or channels.
        """
        channels = len(self.mean)
        if images.ndim != 4 or images.shape[1] != channels:
            raise DataError(
                f"images are {images.dtype} {images.shape}, expected uint8"
                f" [B, {channels}, H, W]"
            )
        check_images(images)
        table = self.levels() * 2.0**self.exponent
        held = np.stack([table[c][images[:, c]] for c in range(channels)], axis=1)
        return np.broadcast_to(held, (steps, *held.shape))


@dataclass(frozen=True)
class PoissonEncoding:
    """Random spikes at a rate proportional to the pixel: one Bernoulli trial a step.

        s_t = [U_t < rate p / 255]          U_t uniform in [0, 1), independent

    U_t = (raw >> 11) 2^-53 of Philox4x64-10 with the key (seed, first 8 bytes of the
    image's SHA-256, little-endian), drawn step by step, pixels in C order. So the
    spikes of an image do not depend on its place in the batch, and the first T steps of
    a longer run are those of a run of T. Generator and hash are published standards,
    and numpy keeps a bit generator's raw stream from version to version.

    Args:
        rate: spikes per step of a white pixel, 0 < rate <= 1; f_max dt for f_max in Hz.
        seed: 0 to 2^64 - 1.

    Source: rate coding by Bernoulli trials, as in BindsNET's `bernoulli(max_prob)` and
        snnTorch's `spikegen.rate`: a Poisson process in steps of dt, at most one spike
        a step. Philox: Salmon et al., SC 2011.
    """

    rate: float = 1.0
    seed: int = 0
    exponent = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise GraphError(
                f"rate is {self.rate} spikes a step; expected 0 < rate <= 1"
            )
        if self.seed not in SEEDS:
            raise GraphError(f"seed is {self.seed}; expected 0 to 2^64 - 1")

    def encode(self, images: NDArray[np.uint8], steps: int) -> Array:
        """Spikes as 0.0 and 1.0, [T, B, C, H, W], of images [B, C, H, W].

        Raises:
            DataError: images are not uint8, or have a wrong number of axes.
        """
        check_images(images)
        chance = self.rate * images / WHITE
        spikes = np.empty((steps, *images.shape))
        for i, image in enumerate(images):
            shape = (steps, *image.shape)
            spikes[:, i] = self.uniform(image, int(np.prod(shape))).reshape(shape)
        return (spikes < chance).astype(np.float64)

    def uniform(self, image: NDArray[np.uint8], count: int) -> Array:
        """The first `count` random numbers of an image."""
        digest = hashlib.sha256(image.tobytes()).digest()[:8]
        key = np.array([self.seed, int.from_bytes(digest, "little")], np.uint64)
        raw = np.random.Philox(key=key).random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class LatencyEncoding:
    """At most one spike per pixel; brighter pixels spike earlier.

        t = round((T - 1) (1 - p / 255))          s_t = 1 there, else 0; half rounds up

    A pixel below `threshold` never spikes.

    Args:
        threshold: the darkest pixel value that spikes, 0 to 255; 1 excludes black.

    Source: time-to-first-spike coding, linear and normalized, as in snnTorch's
        `spikegen.latency(linear=True, normalize=True)`.
    """

    threshold: int = 1
    exponent = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= WHITE:
            raise GraphError(f"threshold is {self.threshold}; expected 0 to {WHITE}")

    def encode(self, images: NDArray[np.uint8], steps: int) -> Array:
        """Spikes as 0.0 and 1.0, [T, B, C, H, W], of images [B, C, H, W].

        Raises:
            DataError: images are not uint8, or have a wrong number of axes.
        """
        check_images(images)
        dark = WHITE - images.astype(np.int64)
        at = (2 * (steps - 1) * dark + WHITE) // (2 * WHITE)
        times = np.arange(steps).reshape(-1, *[1] * images.ndim)
        spikes: Array = np.where(images >= self.threshold, at == times, 0.0)
        return spikes


ENCODINGS: Mapping[str, type[Any]] = {
    "direct": DirectEncoding,
    "poisson": PoissonEncoding,
    "latency": LatencyEncoding,
}


def to_entries(encoding: Encoding) -> dict[str, Any]:
    """The encoding as plain values by name, with its kind; for files."""
    kind = next(name for name, known in ENCODINGS.items() if known is type(encoding))
    return {"kind": kind, **asdict(encoding)}  # type: ignore[call-overload]


def from_entries(entries: Mapping[str, Any]) -> Encoding:
    """The encoding that `to_entries` wrote.

    Raises:
        GraphError: unknown kind, wrong entries, or values out of range.
    """
    values = dict(entries)
    kind = values.pop("kind", None)
    if kind not in ENCODINGS:
        raise GraphError(
            f"the encoding's kind is {kind!r}; known are {', '.join(ENCODINGS)}"
        )
    try:
        encoding: Encoding = ENCODINGS[kind](**values)
    except TypeError as error:
        raise GraphError(f"encoding {kind!r} has entries {values}: {error}") from error
    return encoding


def check_images(images: NDArray[np.uint8]) -> None:
    """Raise if `images` is not a batch of 8-bit images.

    Raises:
        DataError: images are not uint8, or have a wrong number of axes.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(
            f"images are {images.dtype} {images.shape}, expected uint8 [B, C, H, W]"
        )
