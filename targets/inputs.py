"""Inputs of a comparison: images that are encoded chunk by chunk, or an array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from stars.errors import ConfigError, DataError, FormatError
from stars.files.npz import read_npy, read_npz
from stars.graph.encoding import Encoding
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph


class Inputs(Protocol):
    """Samples in a fixed order, encoded as a graph's input on demand."""

    def __len__(self) -> int:
        """Number of samples."""

    def take(self, start: int, stop: int) -> Array:
        """The input of samples start..stop - 1, [T, stop - start, *input shape]."""

    def raw(self, start: int, stop: int) -> NDArray[Any]:
        """The same samples before they are encoded, if they were not given encoded."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """8-bit images [N, C, H, W] and the encoding that their graph states."""

    images: NDArray[np.uint8]
    encoding: Encoding
    steps: int

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def take(self, start: int, stop: int) -> Array:
        """The encoded images, [T, stop - start, C, H, W]."""
        return self.encoding.encode(self.images[start:stop], self.steps)

    def raw(self, start: int, stop: int) -> NDArray[Any]:
        """The images."""
        return self.images[start:stop]


@dataclass(frozen=True, eq=False)
class ArrayInputs:
    """Inputs that are already encoded, [T, N, *input shape]."""

    values: Array

    def __len__(self) -> int:
        """N."""
        return int(self.values.shape[1])

    def take(self, start: int, stop: int) -> Array:
        """The slice, [T, stop - start, *input shape]."""
        return self.values[:, start:stop]

    raw = take


def inputs_for(graph: SpikingGraph, values: NDArray[Any], where: str) -> Inputs:
    """The inputs in an array: uint8 holds images, another type encoded inputs.

    Args:
        graph: the network that takes them.
        values: images [N, C, H, W] or encoded inputs [T, N, *input shape].
        where: the array's source, for the error text.

    Raises:
        DataError: the type or the shape is wrong, or the values are images and the
            graph has no encoding.
    """
    shape = graph.shapes[graph.input]
    if values.dtype == np.uint8:
        if graph.encoding is None:
            raise DataError(
                f"{where}: these are images, but the network's file does not state an"
                " encoding; pass encoded inputs, float [T, N, ...]"
            )
        if values.shape[1:] != shape:
            raise DataError(
                f"{where}: images have shape {values.shape}, expected (N, "
                + ", ".join(map(str, shape))
                + ")"
            )
        return ImageInputs(values, graph.encoding, graph.steps)
    if values.dtype.kind not in "fiub" or values.shape[2:] != shape:
        raise DataError(
            f"{where}: {values.dtype} {values.shape}; expected uint8 images"
            f" (N, *{shape}) or float inputs (T, N, *{shape})"
        )
    if len(values) != graph.steps:
        raise DataError(f"{where}: {len(values)} steps, expected {graph.steps}")
    return ArrayInputs(values.astype(np.float64))


def read_array(path: Path) -> NDArray[Any]:
    """The array in a .npy file, or 'images' or 'inputs' in a .npz file.

    Raises:
        DataError: the file is missing or unreadable, or holds other arrays.
    """
    if not path.is_file():
        raise DataError(f"'{path}': no such file; expected .npy or .npz")
    try:
        if not is_zipfile(path):
            return read_npy(path)
        arrays = read_npz(path)
    except FormatError as error:
        raise DataError(str(error)) from error
    for name in ("images", "inputs"):
        if name in arrays:
            return arrays[name]
    raise DataError(f"'{path}': holds {sorted(arrays)}, expected 'images' or 'inputs'")


@dataclass(frozen=True, eq=False)
class FirstInputs:
    """The first `count` samples of other inputs."""

    inputs: Inputs
    count: int

    def __len__(self) -> int:
        """The count."""
        return self.count

    def take(self, start: int, stop: int) -> Array:
        """The slice, at most up to `count`."""
        return self.inputs.take(start, min(stop, self.count))

    def raw(self, start: int, stop: int) -> NDArray[Any]:
        """The same samples before they are encoded."""
        return self.inputs.raw(start, min(stop, self.count))


def first(inputs: Inputs, count: int | None) -> Inputs:
    """The first `count` samples; all if it is None.

    Raises:
        ConfigError: `count` is less than 1 or more than the number of samples.
    """
    if count is None:
        return inputs
    if not 1 <= count <= len(inputs):
        raise ConfigError(f"asked for {count} images; allowed are 1 to {len(inputs)}")
    return FirstInputs(inputs, count)
