"""What a comparison is run on: images that are encoded chunk by chunk, or an array."""

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
    """Samples in a fixed order, made into a graph's input on demand."""

    def __len__(self) -> int:
        """Number of samples."""

    def take(self, start: int, stop: int) -> Array:
        """The input of samples start..stop - 1, [T, stop - start, *input shape]."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images [N, C, H, W] of 8 bits and the encoding that their graph states."""

    images: NDArray[np.uint8]
    encoding: Encoding
    steps: int

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def take(self, start: int, stop: int) -> Array:
        """The encoded images, [T, stop - start, C, H, W]."""
        return self.encoding.encode(self.images[start:stop], self.steps)


@dataclass(frozen=True, eq=False)
class ArrayInputs:
    """A graph's input as it is, [T, N, *input shape]."""

    values: Array

    def __len__(self) -> int:
        """N."""
        return int(self.values.shape[1])

    def take(self, start: int, stop: int) -> Array:
        """The slice, [T, stop - start, *input shape]."""
        return self.values[:, start:stop]


def inputs_for(graph: SpikingGraph, values: NDArray[Any], where: str) -> Inputs:
    """8-bit images [N, C, H, W] or a float input [T, N, *input shape], by its type.

    Args:
        graph: whose input it is to be.
        values: the array.
        where: for the message.

    Raises:
        DataError: another type or shape, or 8-bit images of a graph whose file does
            not say how images become its input.
    """
    shape = graph.shapes[graph.input]
    if values.dtype == np.uint8:
        if graph.encoding is None:
            raise DataError(
                f"{where}: these are images, but the network's file does not say how"
                " they are encoded; pass the encoded input, float [T, N, ...]"
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
            f" (N, *{shape}) or a float input (T, N, *{shape})"
        )
    if len(values) != graph.steps:
        raise DataError(
            f"{where}: {len(values)} steps, the network runs for {graph.steps}"
        )
    return ArrayInputs(values.astype(np.float64))


def read_array(path: Path) -> NDArray[Any]:
    """The array in an .npy file, or 'images' or 'inputs' in an .npz file.

    Raises:
        DataError: no such file, not readable, or other arrays in it.
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
    """The first `count` samples of some inputs."""

    inputs: Inputs
    count: int

    def __len__(self) -> int:
        """The count."""
        return self.count

    def take(self, start: int, stop: int) -> Array:
        """As of the inputs themselves."""
        return self.inputs.take(start, min(stop, self.count))


def first(inputs: Inputs, count: int | None) -> Inputs:
    """The first `count` samples, or all of them when it is None.

    Raises:
        ConfigError: less than 1, or more than there are.
    """
    if count is None:
        return inputs
    if not 1 <= count <= len(inputs):
        raise ConfigError(f"asked for {count} images; there are 1 to {len(inputs)}")
    return FirstInputs(inputs, count)
