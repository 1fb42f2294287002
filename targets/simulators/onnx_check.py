"""Checks of an ONNX file before the runtime opens it.

The runtime checks nearly everything itself. The faults checked here would end this
process or make it allocate without limit.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.onnx_operators import onnx
from stars.errors import FormatError

LARGEST = 2**24  # integer in a node: a shape, an axis or a count


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
