"""Weighted sums of losses or priors, bound from a configuration by name."""

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
from stars.config.user_code import imported
from stars.errors import ConfigError


@dataclass(frozen=True)
class Term:
    """One row of a table with its options bound."""

    name: str
    weight: float
    function: Callable[..., Tensor]


def bind(
    table: Mapping[str, Callable[..., Tensor]], terms: Sequence[TermConfig], kind: str
) -> tuple[Term, ...]:
    """The rows that `terms` name, their options bound.

    Raises:
        ConfigError: no term with a weight, one named twice, an unknown name or option;
            lists what there is.
    """
    if not any(term.weight for term in terms):
        raise ConfigError(
            f"no {kind} with a weight is configured; there are {sorted(table)}"
        )
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{kind} {twice} is configured more than once")
    return tuple(bind_one(table, term, kind) for term in terms)


def bind_one(
    table: Mapping[str, Callable[..., Tensor]], term: TermConfig, kind: str
) -> Term:
    """One row, or a function of the user's own."""
    function = table[term.name] if term.name in table else own(table, term.name, kind)
    what = f"{kind} {term.name!r}"
    options = checked_options(function, term.model_extra or {}, what)
    return Term(term.name, term.weight, partial(function, **options))


def own(
    table: Mapping[str, Callable[..., Tensor]], name: str, kind: str
) -> Callable[..., Tensor]:
    """The user's own `module:function`.

    Raises:
        ConfigError: not of that form (lists what there is), not to be imported, or not
            a function that takes what the table's rows take.
    """
    if ":" not in name:
        raise ConfigError(
            f"{kind} {name!r} is unknown; there are {sorted(table)}, or module:function"
            " for one of your own"
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
    """Each term's value by name, unweighted; weight 0 is not evaluated.

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
    """Sum of weight x value of what `evaluated` gave."""
    return torch.stack([t.weight * values[t.name] for t in terms if t.weight]).sum()


def weighted_sum(
    terms: Sequence[Term], *arguments: Any
) -> tuple[Tensor, dict[str, float]]:
    """Sum of weight x term, and each term's own value; weight 0 is not evaluated.

    Raises:
        ConfigError: a term is not a scalar.
    """
    values = evaluated(terms, *arguments)
    return total_of(terms, values), {k: float(v.detach()) for k, v in values.items()}
