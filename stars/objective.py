"""Weighted sums of losses, or of priors, that a configuration names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stars.config.models import TermConfig
from stars.config.options import checked_options
from stars.config.user_code import guarded, imported
from stars.errors import ConfigError, guess


@dataclass(frozen=True)
class Term:
    """A loss or prior with its weight; its options are bound to the function."""

    name: str
    weight: float
    function: Callable[..., Tensor]


def bind(
    table: Mapping[str, Callable[..., Tensor]], terms: Sequence[TermConfig], kind: str
) -> tuple[Term, ...]:
    """The terms of a configuration, as functions with their options bound.

    Raises:
        ConfigError: no term has a weight, a name stands twice, or a name or option is
            unknown; the message lists the known ones.
    """
    if not any(term.weight for term in terms):
        raise ConfigError(
            f"no {kind} has a weight above 0; allowed are {sorted(table)}"
        )
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{kind} {twice} is configured twice; remove one of them")
    return tuple(bind_one(table, term, kind) for term in terms)


def bind_one(
    table: Mapping[str, Callable[..., Tensor]], term: TermConfig, kind: str
) -> Term:
    """A row of the table, or the user's own function."""
    what = f"{kind} {term.name!r}"
    if term.name in table:
        function = table[term.name]
    else:
        function = guarded(own(table, term.name, kind), what)
    options = checked_options(function, term.model_extra or {}, what)
    return Term(term.name, term.weight, partial(function, **options))


def own(
    table: Mapping[str, Callable[..., Tensor]], name: str, kind: str
) -> Callable[..., Tensor]:
    """The user's own `module:function`.

    Raises:
        ConfigError: the name has another form, cannot be imported, or is no function
            with the arguments that the table's rows have.
    """
    if ":" not in name:
        raise ConfigError(
            f"{kind} {name!r} is unknown{guess(name, table)}; there are"
            f" {sorted(table)}, or"
            " module:function for your own"
        )
    module = name.partition(":")[0]
    if module in table:
        raise ConfigError(f"{kind} {name!r}: expected options as {module}:key=value")
    function: Callable[..., Tensor] = imported(name, kind)
    if not inspect.isfunction(function):
        raise ConfigError(
            f"{kind} {name!r} is a {type(function).__name__}, expected a function"
        )
    row = inspect.signature(next(iter(table.values()))).parameters.values()
    arguments = [p.name for p in row if p.kind is not p.KEYWORD_ONLY]
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise ConfigError(
            f"{kind} {name!r}: expected ({', '.join(arguments)}, *, options with"
            f" defaults): {error}"
        ) from error
    return function


def evaluated(terms: Sequence[Term], *arguments: Any) -> dict[str, Tensor]:
    """Each term's unweighted value by name; terms of weight 0 are skipped.

    Raises:
        ConfigError: a term is not a scalar.
    """
    values = {t.name: t.function(*arguments) for t in terms if t.weight}
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.ndim:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value)
            raise ConfigError(f"{name!r} gave {found}, expected a scalar tensor")
    return values


def total_of(terms: Sequence[Term], values: Mapping[str, Tensor]) -> Tensor:
    """The weighted sum of the values from `evaluated`."""
    return torch.stack([t.weight * values[t.name] for t in terms if t.weight]).sum()


def weighted_sum(
    terms: Sequence[Term], *arguments: Any
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and each term's own value; terms of weight 0 are skipped.

    Raises:
        ConfigError: a term is not a scalar.
    """
    values = evaluated(terms, *arguments)
    return total_of(terms, values), {k: float(v.detach()) for k, v in values.items()}
