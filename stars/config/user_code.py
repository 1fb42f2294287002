"""Imports a user's function by its name, `module:function`."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from stars.errors import ConfigError, StarsError


def imported(name: str, what: str) -> Any:
    """The object named `module:function`; importing it runs the module's code.

    Args:
        name: its module must be importable by `python` in the current folder.
        what: start of the error message.

    Raises:
        ConfigError: there is no such module, it has no such name, or it raises.
    """
    module, _, attribute = name.partition(":")
    try:
        with working_folder_importable():
            return getattr(importlib.import_module(module), attribute)
    except StarsError:
        raise
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {name!r}: cannot import it ({error})") from error
    except Exception as error:
        raise raised(error, f"{what} {name!r}") from error


def guarded(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    """A user's function whose errors become a ConfigError that names file and line.

    Args:
        function: called with the same arguments.
        what: start of the error message.
    """

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except StarsError:
            raise
        except Exception as error:
            raise raised(error, what) from error

    return call


def raised(error: Exception, what: str) -> ConfigError:
    """The error of a user's code, with the innermost place in it.

    Code of installed packages and of STARS is passed over.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parents[2])
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith((ours, "<", sys.prefix, sys.base_prefix))
    ]
    place = (own or frames)[-1]
    return ConfigError(
        f"{what} raised {type(error).__name__}: {error} (in '{place.filename}', line"
        f" {place.lineno}, in {place.name})"
    )


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
