"""Weighted sums, bound by name from a configuration."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stars.config import TermConfig
from stars.errors import ConfigError
from stars.terms import bind, weighted_sum


def square(x: Tensor, *, power: int = 2) -> Tensor:
    return x**power


def constant(x: Tensor, *, levels: tuple[float, ...] = (1.0,)) -> Tensor:  # noqa: ARG001
    return torch.tensor(sum(levels))


def untouched(x: Tensor) -> Tensor:  # noqa: ARG001
    raise AssertionError("a term of weight 0 is not evaluated")


TABLE = {"square": square, "constant": constant, "untouched": untouched}


def bound(*terms: TermConfig):
    return bind(TABLE, terms, "term")


def test_the_sum_is_weighted_and_each_value_is_told_without_its_weight():
    terms = bound(
        TermConfig(name="square", weight=0.5, power=3),
        TermConfig(name="constant", weight=2.0, levels=[1.0, 2.0]),
        TermConfig(name="untouched", weight=0.0),
    )
    total, values = weighted_sum(terms, torch.tensor(2.0))
    assert float(total) == 0.5 * 8 + 2 * 3
    assert values == {"square": 8.0, "constant": 3.0}


def test_the_gradient_passes_with_the_weights():
    x = torch.tensor(3.0, requires_grad=True)
    total, _ = weighted_sum(bound(TermConfig(name="square", weight=0.5)), x)
    total.backward()
    assert float(x.grad) == 3.0


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "no term with a weight is configured; there are .'constant', 'square'"),
        ([TermConfig(name="square", weight=0)], "no term with a weight"),
        ([TermConfig(name="cube")], "'cube' is unknown; there are .'constant'"),
        ([TermConfig(name="square", to=2)], "no option .'to'.; it has .'power'."),
        ([TermConfig(name="untouched", to=2)], "no option .'to'.; it has none"),
        ([TermConfig(name="square", power="2")], "option 'power' is '2': .*integer"),
        ([TermConfig(name="constant", levels=1.0)], "option 'levels' is 1.0"),
        ([TermConfig(name="square")] * 2, ".'square'. is configured more than once"),
    ],
)
def test_what_cannot_be_bound_is_told_with_what_there_is(terms, message):
    with pytest.raises(ConfigError, match=message):
        bound(*terms)
