"""Checks of an ONNX file before the runtime opens it, and of what it says of itself.

The runtime checks nearly everything itself. The faults checked here would end this
process or make it allocate without limit.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.golden import golden_hashes
from export.onnx_operators import onnx
from export.to_onnx import metadata
from stars.errors import FormatError
from stars.graph.spiking_graph import SpikingGraph

LARGEST = 2**24  # integer in a node: a shape, an axis or a count
LONGEST_TEXT = 120  # characters of a metadata entry in a message


def check_file(path: Path) -> None:
    """Refuse a file that is not ONNX, or that the runtime cannot safely open.

    Raises:
        FormatError: the file does not exist, is not ONNX, keeps tensors in other files,
            or has numbers that make the runtime allocate without limit.
        MissingDependencyError: onnx is not installed.
    """
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model = onnx().load_model(path, load_external_data=False)
    except OSError as error:
        raise FormatError(
            f"'{path}': not a readable ONNX file ({error.strerror})"
        ) from None
    except (decode_error, RecursionError) as error:
        raise FormatError(f"'{path}': not a readable ONNX file ({error})") from None
    for message in messages(model):
        if is_external(message):
            raise FormatError(
                f"'{path}': keeps tensors in other files, which an untrusted file must"
                " not; save it with its tensors inside"
            )
        if message.DESCRIPTOR.name == "NodeProto":
            check_node(message, path)


def messages(message: Any) -> Iterator[Any]:
    """A protobuf message, and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if hasattr(value, "append") else [value]:
                yield from messages(part)


def is_external(message: Any) -> bool:
    """Whether a message is a tensor stored in another file."""
    return any(
        field.name == "external_data" or (field.name, value) == ("data_location", 1)
        for field, value in message.ListFields()
    )


def check_node(node: Any, path: Path) -> None:
    """Refuse a node with impossible numbers.

    Raises:
        FormatError: an integer is too large, or a Scan reads more inputs than it has.
    """
    for attribute in node.attribute:
        limit = len(node.input) if attribute.name == "num_scan_inputs" else LARGEST
        found = max(map(abs, (attribute.i, *attribute.ints)))
        if found > limit:
            raise FormatError(
                f"'{path}': node {node.name!r} ({node.op_type}) has {attribute.name}"
                f" {found}, allowed are up to {limit}"
            )


def check_metadata(
    path: Path, graph: SpikingGraph, *, any_steps: bool = False, golden: bool = False
) -> None:
    """Refuse a file whose metadata describe another network than `graph`.

    Who deploys the file encodes images and resets states by its metadata, so they are
    part of the network. Entries that an older version did not write are skipped.

    Args:
        path: of the file.
        graph: the network that the file should be.
        any_steps: whether the number of steps may differ.
        golden: whether to check the hashes of the golden vectors too, which takes a run
            of the reference.

    Raises:
        FormatError: names every entry that differs.
        MissingDependencyError: onnx is not installed.
    """
    check_file(path)
    found = {p.key: p.value for p in onnx().load_model(path).metadata_props}
    expected = metadata(graph, found.get("form", ""))
    del expected["stars_version"]
    if golden and found.get("golden", "null") != "null":
        expected["golden"] = json.dumps(golden_hashes(graph))
    if any_steps:
        expected = {k: v for k, v in expected.items() if k not in ("steps", "golden")}
    wrong = [
        f"{name} is {shortened(found[name])}, expected {shortened(value)}"
        for name, value in expected.items()
        if name in found and found[name] != value
    ]
    if wrong:
        raise FormatError(
            f"'{path}': its metadata describe another network: {'; '.join(wrong)};"
            " export it again with 'stars export --target onnx'"
        )


def shortened(text: str) -> str:
    """The text, cut to a line."""
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
