"""Parses untrusted JSON and TOML; every fault of a text raises ValueError."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

DEEPEST = 50  # nested lists and objects; deeper nesting overflows Python's stack


def parse_json(text: str | bytes) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: not JSON, a number with too many digits, or nested too deeply.
    """
    return parsed(json.loads, text)


def parse_toml(text: str) -> dict[str, Any]:
    """The table in a TOML text.

    Raises:
        ValueError: as `parse_json`.
    """
    found: dict[str, Any] = parsed(tomllib.loads, text)
    return found


def parsed(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    """The value that `parse` returns, if it has at most `DEEPEST` levels."""
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in parts(outer)]
        if not level:
            return value
    raise ValueError(f"nested more than {DEEPEST} levels deep")


def parts(value: Any) -> list[Any]:
    """The values in a list or an object."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
