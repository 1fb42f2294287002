"""Weighted sums of terms that a configuration names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stars.config.models import TermConfig
from stars.errors import ConfigError
from stars.objective import bind, weighted_sum


def square(x: Tensor, *, power: int = 2) -> Tensor:
    return x**power


def constant(x: Tensor, *, levels: tuple[float, ...] = (1.0,)) -> Tensor:  # noqa: ARG001
    return torch.tensor(sum(levels))


def untouched(x: Tensor) -> Tensor:  # noqa: ARG001
    raise AssertionError("a term of weight 0 is not evaluated")


TABLE = {"square": square, "constant": constant, "untouched": untouched}


SCALAR = torch.tensor(2.0)


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
        ([], "no term has a weight above 0; allowed are .'constant', 'square'"),
        ([TermConfig(name="square", weight=0)], "no term has a weight above 0"),
        ([TermConfig(name="cube")], "'cube' is unknown; there are .'constant'"),
        ([TermConfig(name="square", to=2)], "no option .'to'.; it has .'power'."),
        ([TermConfig(name="untouched", to=2)], "no option .'to'.; it has none"),
        ([TermConfig(name="square", power="2")], "option 'power' is '2': .*integer"),
        ([TermConfig(name="constant", levels=1.0)], "option 'levels' is 1.0"),
        ([TermConfig(name="square")] * 2, ".'square'. is configured twice"),
    ],
)
def test_what_cannot_be_bound_is_told_with_what_there_is(terms, message):
    with pytest.raises(ConfigError, match=message):
        bound(*terms)


# Functions of the user's own

OWN = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from torch import Tensor

def half(x, *, of=1.0):
    return of * x / 2

def hidden_types(x: Tensor, *, of: float = 1.0) -> Tensor:
    return of * x

def rows(x):
    return x.expand(3)

def number(x):
    return 1.0

def two(x, y):
    return x

three = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """The name of a module in the current folder, which is not on the path."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_of_the_users_own_is_a_term_like_any_other(module):
    own = TermConfig(name=f"{module}:half", weight=3.0, of=5)
    total, values = weighted_sum(bound(own, TermConfig(name="square")), SCALAR)
    assert float(total) == 3 * 5 + 4
    assert values == {f"{module}:half": 5.0, "square": 4.0}


def test_its_types_matter_only_where_an_option_is_given(module):
    own = f"{module}:hidden_types"
    assert float(weighted_sum(bound(TermConfig(name=own)), SCALAR)[0]) == 2
    with pytest.raises(ConfigError, match=r"'Tensor' .* outside of TYPE_CHECKING"):
        bound(TermConfig(name=own, of=1.0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "cannot import it"),
        ("three", "is a int, expected a function"),
        ("two", "expected .x, ., options with defaults.: missing .* argument: 'y'"),
    ],
)
def test_what_is_no_such_function_is_refused(module, name, message):
    with pytest.raises(ConfigError, match=message):
        bound(TermConfig(name=f"{module}:{name}"))


@pytest.mark.parametrize(("name", "found"), [("rows", r"\(3,\)"), ("number", "float")])
def test_what_is_no_scalar_tensor_is_refused(module, name, found):
    terms = bound(TermConfig(name=f"{module}:{name}"))
    with pytest.raises(ConfigError, match=f"gave .*{found}.*, expected a scalar tens"):
        weighted_sum(terms, SCALAR)


def test_an_option_in_the_place_of_a_function_is_told():
    with pytest.raises(
        ConfigError, match=r"'square:3': .* options as square:key=value"
    ):
        bound(TermConfig(name="square:3"))
