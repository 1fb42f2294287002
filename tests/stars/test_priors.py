"""Laws over PRIORS; RCA, TAR, BN, OH and ADV on inputs worked out beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from stars.architectures import blueprint
from stars.errors import ConfigError
from stars.outputs import Outputs
from stars.priors import PRIORS, SynthesisState
from stars.priors.tail import gaussian_exceedance
from stars.student import build
from stars.teacher import BatchNormTap

every_prior = pytest.mark.parametrize("name", sorted(PRIORS))


@pytest.fixture(scope="module")
def networks(make_teacher):
    teacher = make_teacher()
    torch.manual_seed(2)
    spec = teacher.spec
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    student = build(plan, steps=3).eval().requires_grad_(requires_grad=False)
    return teacher, student


def state_of(networks, images: torch.Tensor) -> SynthesisState:
    teacher, student = networks
    with teacher.tapped() as taps:
        answer = teacher(images)
    labels = torch.arange(len(images)) % 3
    return SynthesisState(images, labels, answer, tuple(taps), student(images))


def noise(batch: int = 8, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(batch, 1, 8, 8, generator=generator) * scale
    return x.requires_grad_()


@every_prior
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_it_is_a_finite_scalar_and_so_is_its_gradient(name, scale, networks):
    images = noise(scale=scale)
    value = PRIORS[name](state_of(networks, images))
    assert value.shape == ()
    assert bool(value.isfinite())
    (gradient,) = torch.autograd.grad(value, images)
    assert bool(gradient.isfinite().all())


@every_prior
def test_it_moves_the_images_and_neither_network(name, networks):
    teacher, student = networks
    images = noise(batch=64)  # ADV is silent where the two name different classes
    PRIORS[name](state_of(networks, images)).backward()
    assert images.grad.abs().max() > 0
    assert all(p.grad is None for net in (teacher, student) for p in net.parameters())


@every_prior
def test_a_small_step_against_the_gradient_makes_it_smaller(name):
    """On plain functions of the image: a spiking network's surrogate is no slope."""
    images = noise(batch=6)
    layer = norm([0.3], [0.5])

    def state(x: torch.Tensor) -> SynthesisState:
        flat = x.flatten(1)
        answer = Outputs(flat[None, :, :3] * 3, flat[None, :, :9].relu())
        reply = Outputs(flat[None, :, :3] * 2, flat[None, :, 5:14].sigmoid())
        tap = BatchNormTap(layer, x)
        return SynthesisState(x, torch.arange(6) % 3, answer, (tap,), reply)

    value = PRIORS[name](state(images))
    (gradient,) = torch.autograd.grad(value, images)
    moved = images.detach() - 0.01 * gradient / gradient.norm()
    assert PRIORS[name](state(moved)) < value


def norm(mean: list[float], variance: list[float]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(mean)).eval()
    layer.running_mean.copy_(torch.tensor(mean))
    layer.running_var.copy_(torch.tensor(variance))
    return layer


def tapped(*taps: BatchNormTap) -> SynthesisState:
    one = Outputs(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    return SynthesisState(
        torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64), one, taps, one
    )


def tap_of(values: np.ndarray, mean: float = 0.0, variance: float = 1.0):
    """One channel of BN input with these values."""
    inputs = torch.from_numpy(values.astype(np.float32)).reshape(-1, 1, 1, 1)
    return BatchNormTap(norm([mean], [variance]), inputs)


# BN


def test_batch_norm_is_zero_where_the_statistics_agree():
    """-1 and 3: mean 1, biased variance 4."""
    state = tapped(tap_of(np.array([-1.0, 3.0]), mean=1.0, variance=4.0))
    assert float(PRIORS["batch_norm"](state)) == pytest.approx(0, abs=1e-6)


def test_batch_norm_by_hand():
    """Two layers; means off by (3, 4), then variances by 2: |.| = 5 + 0 + 0 + 2."""
    inputs = torch.tensor([[2.0, 3.0], [4.0, 5.0]]).reshape(2, 2, 1, 1)  # means 3, 4
    first = BatchNormTap(norm([0.0, 0.0], [1.0, 1.0]), inputs)
    second = tap_of(np.array([-1.0, 1.0]), variance=3.0)
    assert float(PRIORS["batch_norm"](tapped(first, second))) == pytest.approx(7.0)


# TAR

TABLE = {  # k: E sigmoid((z - k) / tau) for tau .1, .25, .5, 1
    0.5: (0.3113, 0.3238, 0.3523, 0.3980),
    1.0: (0.1625, 0.1805, 0.2248, 0.3033),
    1.5: (0.0700, 0.0856, 0.1296, 0.2215),
    2.0: (0.0245, 0.0343, 0.0677, 0.1555),
}


@pytest.mark.parametrize("k", TABLE)
def test_the_soft_target_is_the_tabulated_one(k):
    found = [gaussian_exceedance(k, tau) for tau in (0.1, 0.25, 0.5, 1.0)]
    assert found == pytest.approx(TABLE[k], abs=5e-5)


def test_a_hard_threshold_is_the_gaussian_tail():
    tail = 0.5 * math.erfc(1 / math.sqrt(2))
    assert gaussian_exceedance(1.0, 1e-3) == pytest.approx(tail, abs=1e-5)


def quantiles(inverse, count: int = 20001) -> np.ndarray:
    return inverse((np.arange(count) + 0.5) / count)


def laplace(u: np.ndarray) -> np.ndarray:
    """Of variance 1."""
    below = np.log(2 * np.minimum(u, 0.5))
    above = -np.log(2 * np.minimum(1 - u, 0.5))
    return np.where(u < 0.5, below, above) / math.sqrt(2)


def gaussian(u: np.ndarray) -> np.ndarray:
    return math.sqrt(2) * torch.erfinv(torch.from_numpy(2 * u - 1)).numpy()


CASES = {  # values of mean 0 and variance 1; soft exceedance at k = .5, 1, 2; tau .25
    "gaussian": (quantiles(gaussian), (0.324, 0.181, 0.034)),
    "two points at +-1": (np.array([-1.0, 1.0]), (0.442, 0.250, 0.009)),
    "P(x = 2) = .2": (np.array([2.0, -0.5, -0.5, -0.5, -0.5]), (0.214, 0.198, 0.100)),
    "laplace": (quantiles(laplace), (0.287, 0.148, 0.037)),
}


@pytest.mark.parametrize("case", CASES)
def test_tar_tells_apart_what_mean_and_variance_do_not(case):
    """a = 5 + 3 z: BN loss about 0 in every case, TAR the one of its exceedances."""
    values, exceedances = CASES[case]
    state = tapped(tap_of(5 + 3 * values, mean=5.0, variance=9.0))
    assert float(PRIORS["batch_norm"](state)) < 0.01
    for k, exceedance in zip((0.5, 1.0, 2.0), exceedances, strict=True):
        found = float(PRIORS["tail"](state, thresholds=(k,)))
        gap = abs(exceedance - gaussian_exceedance(k, 0.25))
        assert math.sqrt(found) == pytest.approx(gap, abs=6e-4)


def test_tar_averages_over_channels_and_layers_and_sums_over_thresholds():
    spread, peaked = CASES["two points at +-1"][0], CASES["laplace"][0]
    one = {
        k: float(PRIORS["tail"](tapped(tap_of(spread)), thresholds=(k,)))
        for k in (1.0, 2.0)
    }
    assert float(PRIORS["tail"](tapped(tap_of(spread)))) == pytest.approx(
        one[1.0] + one[2.0]
    )
    other = float(PRIORS["tail"](tapped(tap_of(peaked))))
    both = float(PRIORS["tail"](tapped(tap_of(spread), tap_of(peaked))))
    assert both == pytest.approx((one[1.0] + one[2.0] + other) / 2)


@pytest.mark.parametrize(
    "options", [{"thresholds": ()}, {"softness": 0.0}, {"softness": -0.1}]
)
def test_tar_refuses_thresholds_and_softness_that_mean_nothing(options):
    with pytest.raises(ConfigError, match="must not be empty and softness"):
        PRIORS["tail"](tapped(tap_of(np.zeros(2))), **options)


# RCA


def related(teacher: list[list[float]], student: list[list[float]]) -> SynthesisState:
    batch = len(teacher)
    logits = torch.zeros(1, batch, 2)
    return SynthesisState(
        torch.zeros(batch, 1, 1, 1),
        torch.zeros(batch, dtype=torch.int64),
        Outputs(logits, torch.tensor(teacher)[None]),
        (),
        Outputs(logits, torch.tensor(student)[None]),
    )


def test_rca_is_zero_where_samples_relate_alike():
    """Another offset, another scale, another number of features: the same relations."""
    teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    student = [[5 + 3 * a, 7 + 3 * b, 1.0] for a, b in teacher]
    value = PRIORS["relational"](related(teacher, student))
    assert float(value) == pytest.approx(0, abs=1e-10)


def test_rca_of_three_samples_by_hand():
    """On a line at -1, 0, 1 and at -1, -1, 2.

    Centred, the teacher's cosines are R_12 = R_23 = 0 and R_13 = -1; the student's
    R_12 = 1, R_13 = R_23 = -1. Squared gaps 1, 0, 1, each twice of six: L = 4 / 6.
    """
    value = PRIORS["relational"](
        related([[-1.0], [0.0], [1.0]], [[-1.0], [-1.0], [2.0]])
    )
    assert float(value) == pytest.approx(4 / 6)


def test_rca_needs_two_samples():
    with pytest.raises(ConfigError, match="at least 2 samples"):
        PRIORS["relational"](related([[1.0]], [[1.0]]))


def test_rca_of_a_silent_student_has_a_finite_gradient():
    rates = torch.zeros(1, 3, 4, requires_grad=True)
    state = related([[0.0], [1.0], [3.0]], [[0.0], [0.0], [0.0]])
    silent = SynthesisState(
        state.images, state.labels, state.teacher, (), Outputs(torch.zeros(1), rates)
    )
    PRIORS["relational"](silent).backward()
    assert bool(rates.grad.isfinite().all())


# OH and ADV


def scored(teacher: list[list[float]], student: list[list[float]], labels: list[int]):
    features = torch.zeros(1, len(labels), 1)
    return SynthesisState(
        torch.zeros(len(labels), 1, 1, 1),
        torch.tensor(labels),
        Outputs(torch.tensor(teacher)[None], features),
        (),
        Outputs(torch.tensor(student)[None], features),
    )


def test_one_hot_is_the_teachers_cross_entropy():
    """Scores (ln 3, 0): 3/4 and 1/4; labels 0 and 1: (ln 4/3 + ln 4) / 2."""
    scores = [[math.log(3), 0.0]] * 2
    value = PRIORS["one_hot"](scored(scores, [[0.0, 0.0]] * 2, [0, 1]))
    assert float(value) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_adversarial_counts_only_where_both_name_one_class():
    """(3/4, 1/4) against (2/3, 1/3), and one sample on which they disagree."""
    teacher = [[math.log(3), 0.0], [5.0, 0.0]]
    student = [[math.log(2), 0.0], [0.0, 5.0]]
    divergence = 0.75 * math.log(9 / 8) + 0.25 * math.log(3 / 4)
    value = PRIORS["adversarial"](scored(teacher, student, [0, 0]))
    assert float(value) == pytest.approx(-divergence / 2, rel=1e-5)
