"""Writes .safetensors files, and reads untrusted ones: tensors and header texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from stars.errors import FormatError
from stars.files.json_toml import parse_json
from stars.files.writing import atomic

Network = TypeVar("Network", bound=nn.Module)


def write_tensors(network: nn.Module, texts: dict[str, str], path: Path) -> None:
    """Write weights, and texts for the header, as one file, atomically."""
    tensors = {k: v.contiguous() for k, v in network.state_dict().items()}
    with atomic(path) as temporary:
        # As bytes, because the library raises no OSError when the disk is full.
        temporary.write_bytes(save(tensors, texts))


def read_tensors(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(Tensors by name, the texts in the header) of a .safetensors file's bytes.

    The library checks the header against the file's size before it allocates memory.

    Raises:
        FormatError: not a safetensors file, or a damaged one.
    """
    try:
        tensors = load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"not a safetensors file ({error})") from error
    return tensors, dict(header.get("__metadata__") or {})  # null is allowed


UNBUILDABLE = (RuntimeError, TypeError, OverflowError)  # of sizes that cannot be


def names_of(make: Callable[[], nn.Module]) -> list[str]:
    """The names of the weights that the network has; it is built without memory.

    Raises:
        FormatError: it cannot be built.
    """
    try:
        with torch.device("meta"):
            return list(make().state_dict())
    except UNBUILDABLE as error:
        raise FormatError(str(error).splitlines()[0]) from error


def filled(make: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """The network that `make` builds, with these weights.

    It is first built without memory, because a small file may describe a huge network.

    Raises:
        FormatError: names or shapes differ, or a value is not finite.
    """
    try:
        with torch.device("meta"):
            shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
            make().load_state_dict(shapes, assign=True)
        network = make()
        network.load_state_dict(dict(tensors))
    except UNBUILDABLE as error:
        reason = "\n  ".join(str(error).splitlines()[:6])
        raise FormatError(reason) from error
    if not all(bool(t.isfinite().all()) for t in network.state_dict().values()):
        raise FormatError("holds NaN or infinity")
    return network
