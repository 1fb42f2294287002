"""Finds the weights of an architecture in a checkpoint, by content.

Training programs nest a state dict beside epochs and optimizers, under many names, and
prefix its keys. Only tensors, numbers and texts arrive here: nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from stars.errors import FormatError

DEPTH = 4  # mappings within mappings
SHOWN = 2  # keys in a message
LONGEST = 32  # characters of a key in a message
Path = tuple[str, ...]


def weights_in(content: Any, expected: Iterable[str]) -> dict[str, Tensor]:
    """The tensors with the `expected` names in a checkpoint, without their prefix.

    Raises:
        FormatError: the content has none, or several that differ; names keys.
    """
    names = list(expected)
    groups = dict(tensor_groups(content))
    if not groups:
        raise FormatError("holds no state dict of tensors")
    found = {
        path: chosen
        for path, group in groups.items()
        if (chosen := matching(group, names)) is not None
    }
    if not found:
        _, largest = max(groups.items(), key=lambda item: len(item[1]))
        raise FormatError(mismatch(largest, names))
    first, *others = found.values()
    if any(any(not first[n].equal(other[n]) for n in names) for other in others):
        places = ", ".join("/".join(path) or "the whole" for path in found)
        raise FormatError(f"holds several state dicts that fit: {places}; save one")
    return first


def tensor_groups(value: Any, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The tensors of each mapping in a checkpoint, with the mapping's place."""
    if not isinstance(value, Mapping) or len(path) > DEPTH:
        return
    tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
    if tensors:
        yield path, tensors
    for key, part in value.items():
        yield from tensor_groups(part, (*path, str(key)))


def matching(
    tensors: Mapping[str, Tensor], names: list[str]
) -> dict[str, Tensor] | None:
    """The tensors called `names` after one prefix; None if some are missing.

    Tensors beside them count as a misfit if they have the same prefix.
    """
    first = names[0]
    prefixes = {
        key.removesuffix(first)
        for key in tensors
        if key == first or key.endswith(f".{first}")
    }
    for prefix in sorted(prefixes, key=len):
        own = {
            key.removeprefix(prefix): tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
        if set(own) == set(names):
            return own
    return None


def mismatch(tensors: Mapping[str, Tensor], names: list[str]) -> str:
    """What a state dict holds in place of `names`, in less than 300 characters."""
    missing = [name for name in names if name not in tensors]
    surplus = [name for name in tensors if name not in names]
    return f"found {few(surplus)}; expected {few(missing)}"


def few(keys: list[str]) -> str:
    """The first keys, and how many there are."""
    if not keys:
        return "no other keys"
    short = [key if len(key) <= LONGEST else f"...{key[3 - LONGEST :]}" for key in keys]
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(short[:SHOWN]) + more
