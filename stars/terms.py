"""Weighted sums of losses or priors, bound from a configuration by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stars.config import TermConfig
from stars.errors import ConfigError
from stars.options import checked_options


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
    """One row."""
    if term.name not in table:
        raise ConfigError(f"{kind} {term.name!r} is unknown; there are {sorted(table)}")
    function = table[term.name]
    what = f"{kind} {term.name!r}"
    options = checked_options(function, term.model_extra or {}, what)
    return Term(term.name, term.weight, partial(function, **options))


def weighted_sum(
    terms: Sequence[Term], *arguments: Any
) -> tuple[Tensor, dict[str, float]]:
    """Sum of weight x term, and each term's own value; weight 0 is not evaluated."""
    values = {t.name: t.function(*arguments) for t in terms if t.weight}
    total = torch.stack([t.weight * values[t.name] for t in terms if t.weight]).sum()
    return total, {name: float(value.detach()) for name, value in values.items()}
