"""Options of a table's row: the keyword-only parameters of its function, checked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from stars.errors import ConfigError


def checked_options(
    function: Callable[..., Any], options: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """`options` as the keyword-only parameters of `function`, of their types.

    Args:
        function: a row of a table: a function, a partial one, or a class.
        options: as they stand in a configuration.
        what: for the message.

    Raises:
        ConfigError: an unknown option (lists what there is), or a wrong type of value.
    """
    parameters = inspect.signature(function).parameters.values()
    allowed = sorted(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(f"{what} has no option {unknown}; it has {allowed or 'none'}")
    kinds, checked = types_of(function, what) if options else {}, {}
    for name, value in options.items():
        try:
            # As JSON, in which a list is a tuple too and a number is never a string.
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
        ConfigError: they name something that is not there at run time.
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
