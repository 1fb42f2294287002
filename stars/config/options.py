"""Checks the options of a table's row: the keyword-only parameters of its function."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from stars.errors import ConfigError, guess


def checked_options(
    function: Callable[..., Any], options: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """`options`, checked against the keyword-only parameters of `function`.

    Args:
        function: a row of a table: a function, a partial one, or a class.
        options: from a configuration.
        what: start of the error message.

    Raises:
        ConfigError: an option is unknown (lists the known ones), or a value has a wrong
            type.
    """
    parameters = inspect.signature(function).parameters.values()
    allowed = sorted(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(
            f"{what} has no option {unknown}{guess(unknown[0], allowed)}; it has"
            f" {allowed or 'none'}"
        )
    kinds, checked = types_of(function, what) if options else {}, {}
    for name, value in options.items():
        try:
            # JSON accepts a list for a tuple, and strict mode no string for a number.
            text = json.dumps(value, default=str)
            checked[name] = TypeAdapter(kinds.get(name, Any)).validate_json(
                text, strict=True
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ConfigError(
                f"{what}: option {name!r} is {value!r}: {reason[0].lower()}{reason[1:]}"
            ) from error
    return checked


def types_of(function: Callable[..., Any], what: str) -> dict[str, Any]:
    """The types of the parameters of `function`.

    Raises:
        ConfigError: a type is not defined at run time.
    """
    while isinstance(function, partial):
        function = function.func
    try:
        return get_type_hints(
            function.__init__ if inspect.isclass(function) else function
        )
    except NameError as error:
        raise ConfigError(
            f"{what}: the types of its options cannot be read ({error}); import them"
            " outside of TYPE_CHECKING"
        ) from error
