"""Weighted sums of losses or priors, bound from a configuration by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stars.config import TermConfig
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
        ConfigError: no term, an unknown name or option; lists what there is.
    """
    if not terms:
        raise ConfigError(f"no {kind} is configured; there are {sorted(table)}")
    return tuple(bind_one(table, term, kind) for term in terms)


def bind_one(
    table: Mapping[str, Callable[..., Tensor]], term: TermConfig, kind: str
) -> Term:
    """One row."""
    if term.name not in table:
        raise ConfigError(f"{kind} {term.name!r} is unknown; there are {sorted(table)}")
    function = table[term.name]
    options: dict[str, Any] = dict(term.model_extra or {})
    allowed = sorted(
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    )
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(
            f"{kind} {term.name!r} has no option {unknown}; it has {allowed or 'none'}"
        )
    return Term(term.name, term.weight, partial(function, **options))


def weighted_sum(
    terms: Sequence[Term], *arguments: Any
) -> tuple[Tensor, dict[str, float]]:
    """Sum of weight x term, and each term's own value; weight 0 is not evaluated."""
    values = {t.name: t.function(*arguments) for t in terms if t.weight}
    total = torch.stack([t.weight * values[t.name] for t in terms if t.weight]).sum()
    return total, {name: float(value.detach()) for name, value in values.items()}
