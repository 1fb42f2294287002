"""Laws over PRIORS, and each prior on inputs worked by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from stars.errors import ConfigError
from stars.networks.architectures import blueprint
from stars.networks.outputs import Outputs
from stars.networks.student import build, with_membranes
from stars.priors import PRIORS, SynthesisState
from stars.priors.exceedance import gaussian_exceedance, gaussian_exceedances
from stars.teacher.teacher import BatchNormTap

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
    return SynthesisState(
        images, labels, answer, tuple(taps), partial(with_membranes, student)
    )


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
    images = noise(batch=64)  # ADV is 0 where the predictions differ
    PRIORS[name](state_of(networks, images)).backward()
    assert images.grad.abs().max() > 0
    assert all(p.grad is None for net in (teacher, student) for p in net.parameters())


@every_prior
def test_a_small_step_against_the_gradient_makes_it_smaller(name):
    """On smooth functions of the image: a surrogate is not the true gradient."""
    images = noise(batch=6)
    layer = norm([0.3], [0.5])

    def state(x: torch.Tensor) -> SynthesisState:
        flat = x.flatten(1)
        answer = Outputs(flat[None, :, :3] * 3, flat[None, :, :9].relu())
        reply = Outputs(
            flat[None, :, :3] * 2, flat[None, :, 5:14].sigmoid(), membranes=(x[None],)
        )
        tap = BatchNormTap(layer, x)
        return SynthesisState(x, torch.arange(6) % 3, answer, (tap,), lambda _: reply)

    value = PRIORS[name](state(images))
    (gradient,) = torch.autograd.grad(value, images)
    moved = images.detach() - 0.01 * gradient / gradient.norm()
    assert PRIORS[name](state(moved)) < value


def norm(mean: list[float], variance: list[float]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(mean)).eval().requires_grad_(requires_grad=False)
    layer.running_mean.copy_(torch.tensor(mean))
    layer.running_var.copy_(torch.tensor(variance))
    return layer


def tapped(*taps: BatchNormTap) -> SynthesisState:
    one = Outputs(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
    return SynthesisState(
        torch.zeros(2, 1, 1, 1),
        torch.zeros(2, dtype=torch.int64),
        one,
        taps,
        lambda _: one,
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

TABLE = {  # k: E sigmoid((z - k) / tau) for tau 0.1, 0.25, 0.5, 1
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
    """Values of variance 1."""
    below = np.log(2 * np.minimum(u, 0.5))
    above = -np.log(2 * np.minimum(1 - u, 0.5))
    return np.where(u < 0.5, below, above) / math.sqrt(2)


def gaussian(u: np.ndarray) -> np.ndarray:
    return math.sqrt(2) * torch.erfinv(torch.from_numpy(2 * u - 1)).numpy()


CASES = {  # values of mean 0 and variance 1; soft exceedance at k = 0.5, 1, 2; tau 0.25
    "gaussian": (quantiles(gaussian), (0.324, 0.181, 0.034)),
    "two points at +-1": (np.array([-1.0, 1.0]), (0.442, 0.250, 0.009)),
    "P(x = 2) = .2": (np.array([2.0, -0.5, -0.5, -0.5, -0.5]), (0.214, 0.198, 0.100)),
    "laplace": (quantiles(laplace), (0.287, 0.148, 0.037)),
}


@pytest.mark.parametrize("case", CASES)
def test_tar_tells_apart_what_mean_and_variance_do_not(case):
    """a = 5 + 3 z: the BN loss is about 0, and TAR is that of the exceedances."""
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
    ("options", "message"),
    [
        ({"thresholds": ()}, "must not be empty and softness"),
        ({"softness": 0.0}, "must not be empty and softness"),
        ({"softness": -0.1}, "must not be empty and softness"),
        ({"band": (0.3, 0.1)}, r"band \[0.3, 0.1\] must be 0 <= low <= high <= 1"),
    ],
)
def test_tar_refuses_options_that_mean_nothing(options, message):
    with pytest.raises(ConfigError, match=message):
        PRIORS["tail"](tapped(tap_of(np.zeros(2))), **options)


def test_the_target_of_many_thresholds_is_that_of_each():
    k = [-3.0, -0.5, 0.0, 1.0, 2.0, 40.0]
    for softness in (0.1, 0.25, 1.0):
        found = gaussian_exceedances(torch.tensor(k), softness).tolist()
        assert found == pytest.approx(
            [gaussian_exceedance(one, softness) for one in k], abs=1e-5
        )


def affine(values: np.ndarray, gain: float, shift: float) -> BatchNormTap:
    tap = tap_of(5 + 3 * values, mean=5.0, variance=9.0)
    nn.init.constant_(tap.layer.weight, gain)
    nn.init.constant_(tap.layer.bias, shift)
    return tap


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gain", [1.0, 0.2])
def test_tar_relu_has_its_threshold_where_the_teachers_relu_opens(case, gain):
    """gamma z - gamma is positive above z = 1, so k = 1 for every gamma."""
    values, (_, exceedance, _) = CASES[case]
    state = tapped(affine(values, gain, -gain))
    gap = abs(exceedance - gaussian_exceedance(1.0, 0.25))
    found = float(PRIORS["tail"](state, variant="relu"))
    assert math.sqrt(found) == pytest.approx(gap, abs=6e-4)


def test_tar_relu_of_a_negative_gain_looks_at_the_other_tail():
    """-z - 1 is positive below z = -1, where P(x = 2) = 0.2 contributes nothing."""
    values = CASES["P(x = 2) = .2"][0]
    found = float(PRIORS["tail"](tapped(affine(values, -1.0, -1.0)), variant="relu"))
    soft = np.mean(1 / (1 + np.exp((values + 1) / 0.25)))
    assert math.sqrt(found) == pytest.approx(
        abs(soft - gaussian_exceedance(1.0, 0.25)), abs=1e-4
    )


def test_tar_relu_of_a_dead_channel_is_zero():
    value = PRIORS["tail"](tapped(affine(np.zeros(4), 0.0, -1.0)), variant="relu")
    assert float(value) == 0


@pytest.mark.parametrize("variant", ["gaussian", "relu", "band"])
def test_tar_of_a_float64_teacher_is_that_of_a_float32_one(variant):
    tap = affine(CASES["laplace"][0], 0.2, -0.1)
    wider = BatchNormTap(norm([5.0], [9.0]).double(), tap.inputs.double())
    nn.init.constant_(wider.layer.weight, 0.2)
    nn.init.constant_(wider.layer.bias, -0.1)
    narrow, wide = (PRIORS["tail"](tapped(x), variant=variant) for x in (tap, wider))
    assert float(wide.detach()) == pytest.approx(float(narrow.detach()), rel=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_tar_band_asks_for_nothing_inside_the_band(case):
    """Only Laplace, 0.148 at k = 1, is inside 0.1 to 0.17; the others are penalized."""
    values, (_, exceedance, _) = CASES[case]
    state = tapped(tap_of(values))
    options = {"variant": "band", "thresholds": (1.0,), "band": (0.1, 0.17)}
    outside = max(exceedance - 0.17, 0.1 - exceedance, 0.0)
    found = float(PRIORS["tail"](state, **options))
    assert math.sqrt(found) == pytest.approx(outside, abs=6e-4)
    assert (found == 0) == (case == "laplace")


def membrane_state(teacher: list[np.ndarray], *membranes: torch.Tensor):
    one = Outputs(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), membranes=membranes)
    return SynthesisState(
        torch.zeros(2, 1, 1, 1),
        torch.zeros(2, dtype=torch.int64),
        one,
        tuple(tap_of(values) for values in teacher),
        lambda _: one,
    )


def test_membranes_cross_as_often_as_the_teachers_activations():
    """Half of each is one softness above, half one below: both shares are 1/2."""
    values = np.array([-0.25, 0.25])
    membranes = torch.tensor([0.75, 1.25]).view(2, 1, 1, 1, 1)
    state = membrane_state([values], membranes)
    assert float(PRIORS["membrane_tail"](state)) == pytest.approx(0, abs=1e-9)
    high = membrane_state([values], torch.full((2, 1, 1, 1, 1), 1.25))
    expected = (1 / (1 + math.exp(-1)) - 0.5) ** 2
    assert float(PRIORS["membrane_tail"](high)) == pytest.approx(expected, rel=1e-5)


def test_stages_are_matched_from_the_last_one():
    """A student with one stage is compared with the teacher's last stage.

    The teacher's first layer is of 1 x 2 pixels, the last of one.
    """
    first = BatchNormTap(norm([0.0], [1.0]), torch.full((1, 1, 1, 2), 9.0))
    last = tap_of(np.array([-0.25, 0.25]))
    state = membrane_state([], torch.ones(2, 1, 1, 1, 1))
    two = SynthesisState(
        state.images, state.labels, state.teacher, (first, last), state.see
    )
    assert float(PRIORS["membrane_tail"](two)) == pytest.approx(0, abs=1e-9)


def test_membranes_that_were_not_recorded_are_an_error():
    with pytest.raises(ConfigError, match="membranes were not recorded"):
        PRIORS["membrane_tail"](tapped(tap_of(np.zeros(2))))
    with pytest.raises(ConfigError, match="must be > 0"):
        PRIORS["membrane_tail"](tapped(tap_of(np.zeros(2))), softness=0.0)


# RCA


def related(teacher: list[list[float]], student: list[list[float]]) -> SynthesisState:
    batch = len(teacher)
    logits = torch.zeros(1, batch, 2)
    return SynthesisState(
        torch.zeros(batch, 1, 1, 1),
        torch.zeros(batch, dtype=torch.int64),
        Outputs(logits, torch.tensor(teacher)[None]),
        (),
        lambda _: Outputs(logits, torch.tensor(student)[None]),
    )


def test_rca_is_zero_where_samples_relate_alike():
    """Offset, scale and number of features differ; the relations are the same."""
    teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    student = [[5 + 3 * a, 7 + 3 * b, 1.0] for a, b in teacher]
    value = PRIORS["relational"](related(teacher, student))
    assert float(value) == pytest.approx(0, abs=1e-10)


def test_rca_of_three_samples_by_hand():
    """On a line at -1, 0, 1 and at -1, -1, 2.

    Centered, the teacher's cosines are R_12 = R_23 = 0 and R_13 = -1; the student's
    R_12 = 1, R_13 = R_23 = -1. Squared gaps 1, 0, 1, each twice of six: L = 4 / 6.
    """
    value = PRIORS["relational"](
        related([[-1.0], [0.0], [1.0]], [[-1.0], [-1.0], [2.0]])
    )
    assert float(value) == pytest.approx(4 / 6)


RELATIONS = pytest.mark.parametrize("variant", ["gram", "rank", "distance"])


@RELATIONS
def test_every_rca_is_zero_where_samples_relate_alike(variant):
    """Offset differs, and for all variants but distance also the scale."""
    teacher = [[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]
    student = [[5 + 3 * a, 7 + 3 * b] for a, b in teacher]
    value = PRIORS["relational"](related(teacher, student), variant=variant)
    assert float(value) == pytest.approx(0, abs=1e-6)
    other = related(teacher, [*student[:-1], [0.0, 0.0]])
    assert float(PRIORS["relational"](other, variant=variant)) > 0.01


def test_rca_by_distance_of_three_samples_by_hand():
    """On a line at 0, 1, 2 and at 0, 0, 3: distances 1, 2, 1 and 0, 3, 3.

    Over their means 4/3 and 2: .75, 1.5, .75 and 0, 1.5, 1.5. Gaps .75, 0, .75; their
    halved squares .28125, 0, .28125: a mean of .1875.
    """
    state = related([[0.0], [1.0], [2.0]], [[0.0], [0.0], [3.0]])
    value = PRIORS["relational"](state, variant="distance")
    assert float(value) == pytest.approx(0.1875)


def test_rca_by_rank_of_three_samples_by_hand():
    """The lines of the Gram example, tau 1. Each row has two others.

    Teacher: rows (0, -1), (0, 0), (-1, 0); student: (1, -1), (1, -1), (-1, -1).
    """

    def kl(p: tuple[float, float], q: tuple[float, float]) -> float:
        def soft(r: tuple[float, float]) -> np.ndarray:
            return np.exp(r) / np.exp(r).sum()

        return float((soft(p) * np.log(soft(p) / soft(q))).sum())

    state = related([[-1.0], [0.0], [1.0]], [[-1.0], [-1.0], [2.0]])
    rows = (((0, -1), (1, -1)), ((0, 0), (1, -1)), ((-1, 0), (-1, -1)))
    expected = sum(kl(p, q) for p, q in rows) / 3
    value = PRIORS["relational"](state, variant="rank", temperature=1.0)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_rca_refuses_what_has_no_relations():
    with pytest.raises(ConfigError, match="at least 2 samples"):
        PRIORS["relational"](related([[1.0]], [[1.0]]))
    pair = related([[1.0], [2.0]], [[1.0], [2.0]])
    with pytest.raises(ConfigError, match="rank needs at least 3 samples"):
        PRIORS["relational"](pair, variant="rank")
    with pytest.raises(ConfigError, match=r"temperature is 0\.0; it must be > 0"):
        PRIORS["relational"](pair, temperature=0.0)


def test_rca_of_a_silent_student_has_a_finite_gradient():
    rates = torch.zeros(1, 3, 4, requires_grad=True)
    state = related([[0.0], [1.0], [3.0]], [[0.0], [0.0], [0.0]])
    reply = Outputs(torch.zeros(1), rates)
    silent = SynthesisState(
        state.images, state.labels, state.teacher, (), lambda _: reply
    )
    PRIORS["relational"](silent).backward()
    assert bool(rates.grad.isfinite().all())


@pytest.mark.parametrize("variant", ["gram", "rank", "distance"])
def test_rca_of_a_constant_student_is_that_of_a_silent_one(variant):
    """The mean of 0.1, 0.7 and 0.3 has other last bits than they: no relation."""
    teacher = [[0.0, 1.0], [1.0, 5.0], [3.0, 2.0], [4.0, 1.0], [7.0, 2.0], [2.0, 2.0]]
    values = [
        float(PRIORS["relational"](related(teacher, [rates] * 6), variant=variant))
        for rates in ([0.0, 0.0, 0.0], [0.1, 0.7, 0.3], [1 / 3, 0.9, 0.2])
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


# OH and ADV


def scored(teacher: list[list[float]], student: list[list[float]], labels: list[int]):
    features = torch.zeros(1, len(labels), 1)
    return SynthesisState(
        torch.zeros(len(labels), 1, 1, 1),
        torch.tensor(labels),
        Outputs(torch.tensor(teacher)[None], features),
        (),
        lambda _: Outputs(torch.tensor(student)[None], features),
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


def test_adversarial_everywhere_counts_every_sample():
    teacher = [[math.log(3), 0.0], [0.0, math.log(3)]]
    state = scored(teacher, [[0.0, 0.0]] * 2, [0, 0])
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value = PRIORS["adversarial"](state, where="everywhere")
    assert float(value) == pytest.approx(-divergence, rel=1e-5)


def test_the_jensen_shannon_divergence_by_hand():
    """(3/4, 1/4) and (1/4, 3/4), middle (1/2, 1/2): JS = KL((3/4, 1/4) || middle)."""
    state = scored([[math.log(3), 0.0]], [[0.0, math.log(3)]], [0])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    value = PRIORS["adversarial"](state, where="everywhere", divergence="js")
    assert float(value) == pytest.approx(-expected, rel=1e-5)


def test_a_temperature_of_nothing_is_refused():
    state = scored([[1.0, 0.0]], [[1.0, 0.0]], [0])
    with pytest.raises(ConfigError, match=r"temperature is 0\.0; it must be > 0"):
        PRIORS["adversarial"](state, temperature=0.0)


# DAFL's and DeepInversion's


def test_balance_is_minus_the_entropy_of_the_mean_answer():
    """(3/4, 1/4) and (1/4, 3/4): the mean is (1/2, 1/2), its entropy ln 2."""
    scores = [[math.log(3), 0.0], [0.0, math.log(3)]]
    value = PRIORS["balance"](scored(scores, scores, [0, 1]))
    assert float(value) == pytest.approx(-math.log(2))


def test_balance_of_one_class_alone_is_zero():
    value = PRIORS["balance"](scored([[900.0, 0.0]], [[0.0, 0.0]], [0]))
    assert float(value) == 0


def test_activation_is_minus_the_mean_feature():
    value = PRIORS["activation"](related([[1.0, 3.0], [0.0, 4.0]], [[0.0]] * 2))
    assert float(value) == pytest.approx(-2.0)


def shown(image: list[list[float]]) -> SynthesisState:
    one = Outputs(torch.zeros(1, 1, 3), torch.zeros(1, 1, 4))
    pixels = torch.tensor(image)[None, None]
    return SynthesisState(pixels, torch.tensor([0]), one, (), lambda _: one)


def test_total_variation_and_length_by_hand():
    """Rows (0, 3) and (4, 0).

    To the right 3 and -4: 5. Down 4 and -3: 5. Diagonals 0, and 4 - 3 = 1. Length 5.
    """
    state = shown([[0.0, 3.0], [4.0, 0.0]])
    assert float(PRIORS["total_variation"](state)) == pytest.approx(11.0)
    assert float(PRIORS["l2"](state)) == pytest.approx(5.0)


def test_a_student_that_no_prior_asks_for_is_not_run():
    def see(_: torch.Tensor) -> Outputs:
        raise AssertionError("the student was run")

    state = shown([[0.0, 1.0], [1.0, 0.0]])
    free = SynthesisState(state.images, state.labels, state.teacher, (), see)
    PRIORS["balance"](free)
    with pytest.raises(AssertionError, match="was run"):
        PRIORS["adversarial"](free)
