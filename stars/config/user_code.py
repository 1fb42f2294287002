"""Imports a user's function by its name, `module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stars.errors import ConfigError


def imported(name: str, what: str) -> Any:
    """The object named `module:function`; importing it runs the module's code.

    Args:
        name: its module must be importable by `python` in the current folder.
        what: start of the error message.

    Raises:
        ConfigError: there is no such module, or it has no such name.
    """
    module, _, attribute = name.partition(":")
    try:
        with working_folder_importable():
            return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {name!r}: cannot import it ({error})") from error


@contextmanager
def working_folder_importable() -> Iterator[None]:
    """Inside the block, modules of the current folder can be imported."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def place_of(function: Callable[..., Any]) -> str:
    """The `module:function` by which `imported` finds a function or class again.

    Raises:
        ConfigError: it is defined inside a function, or is a lambda.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    if "." in function.__qualname__ or imported(name, "function") is not function:
        raise ConfigError(
            f"{name} cannot be imported by its name; define it at the top level of a"
            " module, a script or a notebook"
        )
    return name
