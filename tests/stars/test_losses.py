"""Laws over LOSSES, and each loss's golden value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stars.errors import ConfigError
from stars.losses import LOSSES
from stars.outputs import Outputs

every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def outputs(steps: int, seed: int, scale: float = 3.0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(steps, 5, 4, generator=generator) * scale
    features = torch.rand(steps, 5, 6, generator=generator)
    return Outputs(logits.requires_grad_(), features.requires_grad_())


def value_of(name: str, student: Outputs, teacher: Outputs, **options: float) -> float:
    return float(LOSSES[name](student, teacher, **options).detach())


@every_loss
def test_it_is_zero_where_the_two_agree(name):
    teacher = outputs(1, seed=0)
    student = Outputs(
        teacher.logits.detach().expand(4, -1, -1),
        teacher.features.detach().expand(4, -1, -1),
    )
    assert value_of(name, student, teacher) == pytest.approx(0, abs=1e-6)


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_it_is_not_negative_and_its_gradient_is_finite(name, scale):
    student, teacher = outputs(4, seed=1, scale=scale), outputs(1, seed=2, scale=scale)
    loss = LOSSES[name](student, teacher)
    assert loss.shape == ()
    assert loss.item() >= -1e-6
    loss.backward()
    assert bool(student.logits.grad.isfinite().all())


@every_loss
def test_the_gradient_goes_to_the_student_only(name):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    LOSSES[name](student, teacher).backward()
    assert student.logits.grad.abs().max() > 0
    assert teacher.logits.grad is None
    assert teacher.features.grad is None


@every_loss
def test_a_step_against_the_gradient_makes_it_smaller(name):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    loss = LOSSES[name](student, teacher)
    loss.backward()
    moved = student.logits.detach() - 0.01 * student.logits.grad
    assert LOSSES[name](Outputs(moved, student.features), teacher) < loss


@every_loss
def test_the_order_of_the_batch_does_not_matter(name):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    order = torch.tensor([3, 0, 4, 2, 1])
    turned = (
        Outputs(o.logits[:, order], o.features[:, order]) for o in (student, teacher)
    )
    turned_value = value_of(name, *turned)
    assert value_of(name, student, teacher) == pytest.approx(turned_value, rel=1e-5)


def two_classes(*margins: float) -> Outputs:
    """Outputs of one sample with scores (margin, 0) at each step."""
    logits = torch.tensor([[[margin, 0.0]] for margin in margins])
    return Outputs(logits, torch.zeros(len(margins), 1, 1))


def test_kl_by_hand():
    """p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2 = .1308 nats.

    The scores are tau ln 3 and 0 at tau = 4, so that L = 16 x .1308.
    """
    teacher = two_classes(4 * math.log(3))
    golden = 16 * 0.13081203594113697
    assert float(LOSSES["kl"](two_classes(0.0), teacher)) == pytest.approx(golden)


def test_kl_sees_the_mean_over_the_steps():
    """Margins -2 and 2 are, in the mean, no margin."""
    teacher = two_classes(1.0)
    mean = LOSSES["kl"](two_classes(-2.0, 2.0), teacher, temperature=1.0)
    assert float(mean) == pytest.approx(
        float(LOSSES["kl"](two_classes(0.0), teacher, temperature=1.0))
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kl_equals_its_formula_in_float64(temperature):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)

    def softmax(scores):
        e = np.exp(scores / temperature)
        return e / e.sum(1, keepdims=True)

    p = softmax(teacher.logits.detach().double().mean(0).numpy())
    q = softmax(student.logits.detach().double().mean(0).numpy())
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    found = value_of("kl", student, teacher, temperature=temperature)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_kl_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ConfigError, match="it must be > 0"):
        LOSSES["kl"](two_classes(0.0), two_classes(1.0), temperature=temperature)
