"""Laws over LOSSES, and for each loss a golden value and its formula in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stars.errors import ConfigError
from stars.losses import LOSSES
from stars.losses.hta_kl import head_mask
from stars.networks.outputs import Outputs
from stars.priors import PRIORS

Options = dict[str, Any]
Variant = tuple[str, Options]
Array = NDArray[np.float64]

VARIANTS: list[Variant] = [
    *((name, {}) for name in LOSSES),
    ("tser", {"soft": 1.0, "entropy": 0.5}),
    ("decoupled", {"ensemble": 0.0}),
    ("hta_kl", {"masked": True}),
    ("hta_kl", {"per_step": True}),
    ("nld", {"form": "paper"}),
    ("samd", {"form": "paper"}),
    ("feature_map", {"match": "relation"}),
    ("rkd", {"angle": 0.0}),
    ("rkd", {"distance": 0.0}),
    ("layerwise", {"layers": ["far"], "quantile": 0.5}),
]
# Losses whose docstring says so.
ZERO_WHERE_EQUAL: list[Variant] = [
    ("kl", {}),
    ("tser", {"soft": 1.0, "entropy": 0.0}),
    ("hta_kl", {}),
    ("hta_kl", {"masked": True}),
    ("hta_kl", {"per_step": True}),
    ("nld", {"noise": 0.0}),
    ("nld", {"noise": 0.0, "form": "paper"}),
    ("feature_map", {}),
    ("feature_map", {"match": "relation"}),
    ("rkd", {}),
]
MAY_BE_NEGATIVE: list[Variant] = [
    ("tser", {}),
    ("tser", {"soft": 1.0, "entropy": 0.5}),
    ("hta_kl", {"masked": True}),
]
SEE_EVERY_STEP: list[Variant] = [
    ("tser", {}),
    ("tser", {"soft": 1.0, "entropy": 0.5}),
    ("decoupled", {}),
    ("decoupled", {"ensemble": 0.0}),
    ("hta_kl", {"per_step": True}),
]


def over(variants: list[Variant]) -> pytest.MarkDecorator:
    """Parametrizes a test over `variants`, with their names."""
    ids = [f"{name} {options or ''}".strip() for name, options in variants]
    return pytest.mark.parametrize(("name", "options"), variants, ids=ids)


every_loss = over(VARIANTS)


def outputs(steps: int, seed: int, scale: float = 3.0) -> Outputs:
    """Five samples in four classes, six features, two layers; a head only for T = 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(steps, 5, 4, generator=generator) * scale
    features = torch.rand(steps, 5, 6, generator=generator) * scale
    maps = torch.rand(steps, 5, 6, 2, 3, generator=generator) * scale
    head = torch.randn(4, 6, generator=generator) if steps == 1 else None
    layers = {
        name: torch.rand(steps, 5, channels, 2, 3, generator=generator) * scale
        for name, channels in (("near", 2), ("far", 3))
    }
    for leaf in (logits, features, maps, *layers.values()):
        leaf.requires_grad_()
    return Outputs(logits, features, maps, head, activations=layers)


def each(function: Callable[[torch.Tensor], torch.Tensor], o: Outputs) -> Outputs:
    """Apply `function` to every field that has steps and samples."""
    assert o.maps is not None
    assert o.activations is not None
    layers = {name: function(x) for name, x in o.activations.items()}
    seen = (function(x) for x in (o.logits, o.features, o.maps))
    return Outputs(*seen, o.head, activations=layers)


def detached(o: Outputs) -> Outputs:
    return each(torch.Tensor.detach, o)


def loss_of(
    name: str, student: Outputs, teacher: Outputs, options: Options
) -> torch.Tensor:
    """The loss, with the same noise at each call."""
    torch.manual_seed(0)
    return LOSSES[name](student, teacher, **options)


def value_of(name: str, student: Outputs, teacher: Outputs, **options: Any) -> float:
    return float(loss_of(name, student, teacher, options).detach())


def gradients(o: Outputs) -> list[torch.Tensor]:
    assert o.maps is not None
    layers = (o.activations or {}).values()
    found = (x.grad for x in (o.logits, o.features, o.maps, *layers))
    return [g for g in found if g is not None]


# Laws


def test_losses_and_priors_have_names_of_their_own():
    """Losses and priors share one line of a run's metrics."""
    assert not LOSSES.keys() & PRIORS.keys()


@over(ZERO_WHERE_EQUAL)
def test_it_is_zero_where_the_two_agree(name, options):
    teacher = outputs(1, seed=0)
    student = replace(
        each(lambda x: x.detach().expand(4, *x.shape[1:]), teacher), head=None
    )
    assert value_of(name, student, teacher, **options) == pytest.approx(0, abs=1e-6)


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_its_gradient_is_finite(name, options, scale):
    student, teacher = outputs(4, seed=1, scale=scale), outputs(1, seed=2, scale=scale)
    loss = loss_of(name, student, teacher, options)
    assert loss.shape == ()
    assert bool(loss.isfinite())
    loss.backward()
    assert gradients(student)
    assert all(bool(g.isfinite().all()) for g in gradients(student))


@over([v for v in VARIANTS if v not in MAY_BE_NEGATIVE])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_it_is_not_negative(name, options, scale):
    student, teacher = outputs(4, seed=1, scale=scale), outputs(1, seed=2, scale=scale)
    assert value_of(name, student, teacher, **options) >= -1e-6


@every_loss
def test_its_gradient_is_finite_under_bf16_autocast(name, options):
    student, teacher = outputs(4, seed=1), detached(outputs(1, seed=2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(name, student, each(torch.Tensor.bfloat16, teacher), options)
    loss.backward()
    assert all(bool(g.isfinite().all()) for g in gradients(student))
    assert loss.item() == pytest.approx(
        value_of(name, student, teacher, **options), rel=0.1, abs=0.02
    )


@every_loss
def test_a_silent_student_gets_a_gradient_that_does_not_explode(name, options):
    student = each(lambda x: torch.zeros_like(x).requires_grad_(), outputs(4, seed=1))
    loss_of(name, student, outputs(1, seed=2), options).backward()
    assert max(float(g.abs().max()) for g in gradients(student)) < 1e4


@every_loss
def test_the_gradient_goes_to_the_student_only(name, options):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    loss_of(name, student, teacher, options).backward()
    assert max(float(g.abs().max()) for g in gradients(student)) > 0
    assert gradients(teacher) == []


@every_loss
def test_a_step_against_the_gradient_makes_it_smaller(name, options):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    loss = loss_of(name, student, teacher, options)
    loss.backward()
    moved = each(
        lambda x: x.detach() - 0.01 * (0 if x.grad is None else x.grad), student
    )
    assert value_of(name, moved, teacher, **options) < loss.item()


@every_loss
def test_the_order_of_the_batch_does_not_matter(name, options):
    """Without noise, because each sample has its own."""
    if name == "nld":
        options = {**options, "noise": 0.0}
    order = torch.tensor([3, 0, 4, 2, 1])
    pair = outputs(4, seed=1), outputs(1, seed=2)
    turned = value_of(name, *(each(lambda x: x[:, order], o) for o in pair), **options)
    assert value_of(name, *pair, **options) == pytest.approx(turned, rel=1e-5)


@every_loss
def test_the_order_of_the_steps_does_not_matter(name, options):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    turned = each(lambda x: x[torch.tensor([2, 0, 3, 1])], student)
    found = value_of(name, turned, teacher, **options)
    assert found == pytest.approx(value_of(name, student, teacher, **options), rel=1e-4)


@every_loss
def test_only_the_losses_of_every_step_see_more_than_the_mean(name, options):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    still = each(lambda x: x.mean(0, keepdim=True).expand_as(x), student)
    gap = value_of(name, still, teacher, **options) - value_of(
        name, student, teacher, **options
    )
    if (name, options) in SEE_EVERY_STEP:
        assert abs(gap) > 0.1
    else:
        assert gap == pytest.approx(0, abs=1e-4)


# Golden values, by hand


def two_classes(*margins: float) -> Outputs:
    """Outputs of one sample with scores (margin, 0) at each step."""
    logits = torch.tensor([[[margin, 0.0]] for margin in margins])
    return Outputs(logits, torch.zeros(len(margins), 1, 1))


def probabilities(*values: float) -> Outputs:
    """Outputs of one sample and step whose softmax at tau = 1 is `values`."""
    return Outputs(torch.tensor([[values]]).log(), torch.zeros(1, 1, 1))


def with_features(*rows: list[float]) -> Outputs:
    return Outputs(torch.zeros(1, len(rows), 2), torch.tensor([rows]))


def test_kl_by_hand():
    """p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308 nats.

    The scores are tau ln 3 and 0 at tau = 4, so that L = 16 x .1308.
    """
    teacher = two_classes(4 * math.log(3))
    golden = 16 * 0.13081203594113697
    assert value_of("kl", two_classes(0.0), teacher) == pytest.approx(golden)


def test_ce_by_hand():
    """The mean margin ln 3 gives the teacher's class 3/4: L = -ln 3/4."""
    student = two_classes(0.0, 2 * math.log(3))
    found = value_of("ce", student, two_classes(1.0))
    assert found == pytest.approx(0.2876820724517809)


def test_tser_by_hand():
    """p = (3/4, 1/4); steps q = p and (1/2, 1/2); a = 1/2, g = 0.1, tau = 1.

    CE (.28768 + .69315) / 2, KL (0 + .13081) / 2, H (.56234 + .69315) / 2.
    """
    found = value_of(
        "tser",
        two_classes(math.log(3), 0.0),
        two_classes(math.log(3)),
        temperature=1.0,
        soft=0.5,
        entropy=0.1,
    )
    assert found == pytest.approx(0.5 * 0.490415 + 0.5 * 0.065406 - 0.0627741, abs=2e-6)


@pytest.mark.parametrize(("masked", "golden"), [(False, 0.387441), (True, 0.510045)])
def test_hta_kl_by_hand(masked, golden):
    """p = (1/2, 3/8, 1/8), q = (1/4, 1/4, 1/2), d = 0.5: the head is the first class.

    g_h = 1/4, g_t = 1/8 + 3/8: weights 1/3 and 2/3. KL(p||q) = .32534, of which .34657
    in the head; KL(q||p) = .41849, of which .59178 in the tail.
    """
    student, teacher = probabilities(0.25, 0.25, 0.5), probabilities(0.5, 0.375, 0.125)
    found = value_of("hta_kl", student, teacher, temperature=1.0, masked=masked)
    assert found == pytest.approx(golden, abs=1e-6)


def test_decoupled_by_hand():
    """p = (3/4, 1/4); steps q = p, which is correct, and (1/4, 3/4); a = b = tau = 1.

    CE (.28768 + 1.38629) / 2; both divergences (0 + 1/2 ln 3) / 2; together ln 4.
    """
    student = two_classes(math.log(3), -math.log(3))
    options = {"temperature": 1.0, "soft": 1.0, "ensemble": 1.0}
    found = value_of("decoupled", student, two_classes(math.log(3)), **options)
    assert found == pytest.approx(math.log(4))


def test_decoupled_has_no_ensemble_where_no_step_is_correct():
    student, teacher = two_classes(-1.0, -2.0), two_classes(1.0)
    alone = value_of("decoupled", student, teacher, ensemble=0.0)
    assert value_of("decoupled", student, teacher) == alone


def test_hta_kl_with_a_head_of_everything_is_the_forward_kl():
    """Whatever float32 adds up to: here, some sums of probabilities pass 1."""
    generator = torch.Generator().manual_seed(0)
    mine, theirs = torch.randn(2, 1, 5000, 10, generator=generator) * 4
    student, teacher = (Outputs(x, torch.zeros(1, 5000, 1)) for x in (mine, theirs))
    assert bool((theirs[0] / 4).softmax(1).sort(1, True)[0].cumsum(1).gt(1).any())
    found = value_of("hta_kl", student, teacher, head=1.0)
    expected = value_of("kl", student, teacher, temperature=4.0)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", range(1, 11))
def test_the_edge_of_the_head_does_not_depend_on_rounding(count):
    """Ten equal classes: `count` of them add up to d = count / 10 exactly."""
    p = torch.zeros(1, 10).softmax(1)
    assert int(head_mask(p, count / 10).sum()) == count
    assert int(head_mask(p, count / 10 - 1e-3).sum()) == max(1, count - 1)


@pytest.mark.parametrize(
    ("form", "golden"),
    # released: q = 3/4 (3/4, 1/4) + 1/4 (1/4, 3/4) = (5/8, 3/8), KL = ln(16/15) / 2
    # paper: margin (2 - sqrt(2) / 4) / tau = .82322 ln 3, q = (.71185, .28815)
    [("released", 0.0322693), ("paper", 0.0989375)],
)
def test_nld_by_hand(form, golden):
    """zbar = (1, -1): m = 0, s^2 = 2. xi = (-1/2, 1/2), so that n = -zbar; lam = 1/4.

    tau = 2 / ln 3 makes softmax(zbar / tau) = (3/4, 1/4). The teacher has no margin.
    """
    student = Outputs(torch.tensor([[[1.0, -1.0]]]), torch.zeros(1, 1, 1))
    temperature = 2 / math.log(3)
    with mock.patch("torch.randn_like", return_value=torch.tensor([[-0.5, 0.5]])):
        found = value_of(
            "nld",
            student,
            two_classes(0.0),
            form=form,
            temperature=temperature,
            noise=0.25,
        )
    assert found == pytest.approx(temperature**2 * golden, abs=1e-5)


@pytest.mark.parametrize(
    ("form", "golden"),
    # paper: P_T = (.66524, .24473, .09003), P_S = (.21194, .21194, .57612)
    # released, scaled by 1 / 4.001 and 1 / 2.001: P_T = (.41921, .32650, .25429),
    # and P_S (.27410, .27410, .45180)
    [("paper", 4 * 0.6290186), ("released", 0.0890708)],
)
def test_samd_by_hand(form, golden):
    """Two channels of 1 x 3 places, class weights (2, -2).

    M_T = ReLU(2 (3, 2, 1) - 2 (1, 1, 2)) = (4, 2, 0); the one channel of the student
    spikes twice in the third place: M_S = (0, 0, 2).
    """
    teacher = Outputs(
        torch.tensor([[[1.0, 0.0]]]),
        torch.zeros(1, 1, 2),
        torch.tensor([[[[[3.0, 2.0, 1.0]], [[1.0, 1.0, 2.0]]]]]),
        torch.tensor([[2.0, -2.0], [0.0, 5.0]]),
    )
    spikes = torch.tensor([0.0, 0.0, 1.0]).expand(2, 1, 1, 1, 3)
    student = Outputs(torch.zeros(2, 1, 2), torch.zeros(2, 1, 1), spikes)
    found = value_of("samd", student, teacher, form=form)
    assert found == pytest.approx(golden, abs=1e-5)


def test_feature_map_by_hand():
    """(0.6, 0.8) to (1, 0): 0.16 + 0.64."""
    student, teacher = with_features([0.5, 0.0]), with_features([3.0, 4.0])
    assert value_of("feature_map", student, teacher) == pytest.approx(0.8)


def test_feature_map_of_relations_by_hand():
    """Rows (1, 0) and (0, 1) against (1, 1) / sqrt 2 twice: 1 - 1 / sqrt 2."""
    student, teacher = (
        with_features([1.0, 0.0], [0.0, 1.0]),
        with_features([1.0], [1.0]),
    )
    found = value_of("feature_map", student, teacher, match="relation")
    assert found == pytest.approx(1 - 1 / math.sqrt(2))


def test_rkd_by_hand():
    """On a line at 0, 1, 3 against a right angle with legs of 1.

    Cosines 1, -1, 1 against 0, .70711, .70711: Huber .5, 1.20711, .04289, mean 7/12.
    Against 0, 1, 2: distances .5, 1.5, 1 and .75, 1.5, .75: Huber 1/32, 0, 1/32.
    """
    line = with_features([0.0], [1.0], [3.0])
    corner = with_features([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    even = with_features([0.0], [1.0], [2.0])
    angle = value_of("rkd", line, corner, distance=0.0, angle=1.0)
    assert angle == pytest.approx(7 / 12)
    assert value_of("rkd", line, even) == pytest.approx(1 / 48)


def with_layer(*rows: list[float], scale: float | None = None) -> Outputs:
    """Outputs whose one layer "a" gives each step's row, for one channel and sample."""
    layer = torch.tensor(rows)[:, None, None, None, :]
    scales = None if scale is None else {"a": torch.tensor([scale])}
    none = torch.zeros(len(rows), 1, 1)
    return Outputs(none, none, activations={"a": layer}, scales=scales)


def test_layerwise_by_hand():
    """Targets (1, 1/2, 0, 1) of variance 11/64 against rates (1/2, 1/2, 0, 1).

    The squared distance is 1/4 in one of four places: L = (1/16) / (11/64) = 4/11.
    """
    student = with_layer([1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0])
    teacher = with_layer([4.0, 1.0, 0.0, 2.0], scale=2.0)
    assert value_of("layerwise", student, teacher) == pytest.approx(4 / 11)


# The formulas again, in float64


def softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl_rows(p: Array, q: Array) -> Array:
    return (p * np.log(p / q)).sum(-1)


def huber(x: Array) -> Array:
    return np.where(abs(x) <= 1, x**2 / 2, abs(x) - 0.5)


def unit_rows(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def formula_ce(s: dict[str, Array], t: dict[str, Array]) -> float:
    q, y = softmax(s["logits"].mean(0)), t["logits"][0].argmax(1)
    return float(-np.log([q[b, y[b]] for b in range(len(q))]).mean())


def formula_kl(s: dict[str, Array], t: dict[str, Array], tau: float = 4) -> float:
    p, q = softmax(t["logits"][0] / tau), softmax(s["logits"].mean(0) / tau)
    return float(tau**2 * kl_rows(p, q).mean())


def formula_tser(s: dict[str, Array], t: dict[str, Array]) -> float:
    p, y, total = softmax(t["logits"][0] / 4), t["logits"][0].argmax(1), 0.0
    for z in s["logits"]:
        hard = -np.log([softmax(z)[b, y[b]] for b in range(len(z))]).mean()
        q = softmax(z / 4)
        disorder = -(q * np.log(q)).sum(1).mean()
        total += 0.5 * hard + 0.5 * 16 * kl_rows(p, q).mean() - 0.01 * disorder
    return float(total / len(s["logits"]))


def formula_decoupled(s: dict[str, Array], t: dict[str, Array]) -> float:
    p, y, z = softmax(t["logits"][0] / 3), t["logits"][0].argmax(1), s["logits"]
    values = []
    for b in range(len(y)):
        correct = [step[b] for step in z if step[b].argmax() == y[b]]
        for step in z:
            q, value = softmax(step[b] / 3), -np.log(softmax(step[b])[y[b]])
            value += 0.2 * 9 * kl_rows(p[b], q)
            if correct:
                value += 0.5 * 9 * kl_rows(softmax(np.mean(correct, 0) / 3), q)
            values.append(value)
    return float(np.mean(values))


def formula_hta_kl(s: dict[str, Array], t: dict[str, Array]) -> float:
    values = []
    for v, z in zip(t["logits"][0], s["logits"].mean(0), strict=True):
        order = np.argsort(-v)
        p, q = softmax(v / 4)[order], softmax(z / 4)[order]
        count = max(1, int((np.cumsum(p) <= 0.5).sum()))
        gap = abs(p - q)
        share = gap[:count].sum() / gap.sum()
        values.append(share * kl_rows(p, q) + (1 - share) * kl_rows(q, p))
    return float(16 * np.mean(values))


def formula_nld(s: dict[str, Array], t: dict[str, Array]) -> float:
    torch.manual_seed(0)
    xi = torch.randn(5, 4).numpy().astype(np.float64)
    z = s["logits"].mean(0)
    n = z.mean(1, keepdims=True) + z.var(1, ddof=1, keepdims=True) * xi
    q = 0.9 * softmax(z / 2) + 0.1 * softmax(n / 2)
    return float(4 * kl_rows(softmax(t["logits"][0] / 2), q).mean())


def formula_samd(s: dict[str, Array], t: dict[str, Array]) -> float:
    y = t["logits"][0].argmax(1)
    saliency = np.einsum("bc,bchw->bhw", t["head"][y], t["maps"][0]).clip(min=0)

    def places(maps: Array) -> Array:
        rescaled = (maps - maps.min()) / (maps.max() - maps.min() + 1e-3)
        return softmax(rescaled.reshape(len(maps), -1) / 2)

    return float(kl_rows(places(saliency), places(s["maps"].sum((0, 2)))).mean())


def formula_feature_map(s: dict[str, Array], t: dict[str, Array]) -> float:
    cosines = (unit_rows(s["features"].mean(0)) * unit_rows(t["features"][0])).sum(1)
    return float((2 - 2 * cosines).mean())


def formula_rkd(s: dict[str, Array], t: dict[str, Array]) -> float:
    near, far = s["features"].mean(0), t["features"][0]
    n = range(len(near))

    def distance(f: Array, i: int, j: int) -> float:
        every = [np.linalg.norm(f[a] - f[b]) for a in n for b in n if a != b]
        return float(np.linalg.norm(f[i] - f[j]) / np.mean(every))

    def cosine(f: Array, i: int, j: int, k: int) -> float:
        a, b = f[i] - f[j], f[k] - f[j]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    pairs = [(i, j) for i in n for j in n if i != j]
    triplets = [(i, j, k) for i, j in pairs for k in n if k not in (i, j)]
    apart = [huber(np.array(distance(near, *p) - distance(far, *p))) for p in pairs]
    bent = [huber(np.array(cosine(near, *p) - cosine(far, *p))) for p in triplets]
    return float(np.mean(apart) + 2 * np.mean(bent))


def formula_layerwise(s: dict[str, Array], t: dict[str, Array]) -> float:
    total = 0.0
    for name in ("near", "far"):
        a = t[name][0]
        # The 0.995 quantile of 30 values is the 30th.
        target = (a / a.max((0, 2, 3))[:, None, None]).clip(0, 1)
        total += ((s[name].mean(0) - target) ** 2).mean() / target.var()
    return float(total)


FORMULAS: dict[str, Callable[[dict[str, Array], dict[str, Array]], float]] = {
    "kl": formula_kl,
    "ce": formula_ce,
    "tser": formula_tser,
    "decoupled": formula_decoupled,
    "hta_kl": formula_hta_kl,
    "nld": formula_nld,
    "samd": formula_samd,
    "feature_map": formula_feature_map,
    "rkd": formula_rkd,
    "layerwise": formula_layerwise,
}


def in_float64(o: Outputs) -> dict[str, Array]:
    named = {"logits": o.logits, "features": o.features, "maps": o.maps, "head": o.head}
    named |= o.activations or {}
    return {k: x.detach().double().numpy() for k, x in named.items() if x is not None}


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_equals_its_formula_in_float64(name, seed):
    student, teacher = outputs(4, seed=seed), outputs(1, seed=seed + 10)
    expected = FORMULAS[name](in_float64(student), in_float64(teacher))
    assert value_of(name, student, teacher) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kl_equals_its_formula_at_every_temperature(temperature):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    expected = formula_kl(in_float64(student), in_float64(teacher), temperature)
    found = value_of("kl", student, teacher, temperature=temperature)
    assert found == pytest.approx(expected, rel=1e-5)


# Single losses


@pytest.mark.parametrize("form", ["paper", "released"])
def test_the_noise_of_nld_is_that_of_torchs_seed(form):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    torch.manual_seed(7)
    values = [LOSSES["nld"](student, teacher, form=form).item() for _ in range(2)]
    torch.manual_seed(7)
    assert LOSSES["nld"](student, teacher, form=form).item() == values[0]
    assert values[0] != values[1]


@pytest.mark.parametrize("form", ["paper", "released"])
def test_nld_without_noise_is_kl(form):
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    found = value_of("nld", student, teacher, form=form, noise=0.0)
    expected = value_of("kl", student, teacher, temperature=2.0)
    assert found == pytest.approx(expected, rel=1e-5)


def test_samd_is_zero_where_the_scaled_maps_agree():
    """Every class weighs every channel by 1: the activation map is the sum."""
    teacher = replace(outputs(1, seed=0), head=torch.ones(4, 6))
    student = each(lambda x: x.detach().expand(4, *x.shape[1:]), teacher)
    assert value_of("samd", student, teacher) == pytest.approx(0, abs=1e-6)


def test_samd_averages_larger_maps_down_to_the_smaller():
    student, teacher = detached(outputs(4, seed=1)), detached(outputs(1, seed=2))
    assert teacher.maps is not None
    large = teacher.maps.repeat_interleave(3, 3).repeat_interleave(2, 4)
    found = value_of("samd", student, replace(teacher, maps=large))
    assert found == pytest.approx(value_of("samd", student, teacher), rel=1e-5)


def test_samd_says_who_does_not_show_what_it_needs():
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    with pytest.raises(ConfigError, match="the student's outputs hold no maps"):
        value_of("samd", replace(student, maps=None), teacher)
    with pytest.raises(ConfigError, match="the teacher's outputs hold no maps"):
        value_of("samd", student, replace(teacher, maps=None))
    with pytest.raises(ConfigError, match="reads 7 features, its last stage has 6"):
        value_of("samd", student, replace(teacher, head=torch.ones(4, 7)))


def test_features_of_two_widths_can_be_compared_by_their_relations_only():
    teacher = outputs(1, seed=2)
    narrow = replace(outputs(4, seed=1), features=torch.rand(4, 5, 3))
    with pytest.raises(ConfigError, match="3 features, the teacher 6; use match=relat"):
        value_of("feature_map", narrow, teacher)
    assert value_of("feature_map", narrow, teacher, match="relation") > 0
    assert value_of("rkd", narrow, teacher) > 0


@pytest.mark.parametrize("name", ["kl", "tser", "decoupled", "hta_kl", "nld", "samd"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(name, temperature):
    with pytest.raises(ConfigError, match="it must be > 0"):
        value_of(name, outputs(4, 1), outputs(1, 2), temperature=temperature)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tser", {"soft": 1.5}, "soft is 1.5; it must be in 0..1"),
        ("tser", {"entropy": -1.0}, "entropy is -1.0; it must be >= 0"),
        ("decoupled", {"ensemble": -1.0}, "ensemble is -1.0; it must be >= 0"),
        ("hta_kl", {"head": math.nan}, "head is nan; it must be in 0..1"),
        ("nld", {"noise": 2.0}, "noise is 2.0; it must be in 0..1"),
        ("rkd", {"angle": -1.0}, "angle is -1.0; it must be >= 0"),
        ("layerwise", {"quantile": 0.0}, "quantile is 0.0; it must be in 0..1"),
        ("rkd", {"angle": 0.0, "distance": 0.0}, "expected a weight above 0"),
    ],
)
def test_an_option_out_of_its_range_is_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        value_of(name, outputs(4, 1), outputs(1, 2), **options)


def test_rkd_needs_three_samples_for_an_angle():
    two = with_features([0.0], [1.0])
    with pytest.raises(ConfigError, match=r"batch of 2; .* at least 3 samples"):
        value_of("rkd", two, two)
    assert value_of("rkd", two, two, angle=0.0) == 0


def test_layerwise_is_zero_where_all_rates_equal_their_targets():
    teacher = replace(
        detached(outputs(1, seed=0)),
        scales={"near": torch.full((2,), 2.0), "far": torch.full((3,), 1.5)},
    )
    assert teacher.activations is not None
    assert teacher.scales is not None
    rates = {
        name: (a / teacher.scales[name][:, None, None])
        .clamp(0, 1)
        .expand(4, 5, -1, 2, 3)
        for name, a in teacher.activations.items()
    }
    student = replace(teacher, logits=teacher.logits, activations=rates)
    assert value_of("layerwise", student, teacher) == 0


def test_layerwise_averages_targets_down_to_a_student_of_smaller_resolution():
    """Targets 1, 0, 1/2 and 1/2 in pairs: rates of 1/2 everywhere are right."""
    teacher = with_layer([2.0, 0.0, 1.0, 1.0], scale=2.0)
    student = with_layer([1.0, 0.0], [0.0, 1.0])
    assert value_of("layerwise", student, teacher) == 0


def test_layerwise_takes_the_scales_that_the_student_started_with():
    student = with_layer([1.0, 0.0, 0.0, 1.0])
    teacher = with_layer([4.0, 1.0, 0.0, 4.0], scale=4.0)
    found = value_of("layerwise", student, teacher)
    measured = value_of("layerwise", student, replace(teacher, scales=None))
    assert found == pytest.approx(measured)
    other = replace(teacher, scales={"a": torch.tensor([8.0])})
    assert value_of("layerwise", student, other) != pytest.approx(measured)


def test_a_layer_that_never_responds_gives_a_finite_layerwise_loss():
    student, teacher = with_layer([1.0, 0.0]), with_layer([0.0, 0.0])
    assert math.isfinite(value_of("layerwise", student, teacher))


def test_layerwise_says_which_layers_cannot_be_compared():
    student, teacher = outputs(4, seed=1), outputs(1, seed=2)
    hidden = replace(student, activations=None)
    with pytest.raises(ConfigError, match="the student does not show its layers"):
        value_of("layerwise", hidden, teacher)
    with pytest.raises(ConfigError, match="the teacher does not show its layers"):
        value_of("layerwise", student, replace(teacher, activations=None))
    with pytest.raises(ConfigError, match=r"\['middle'\] are not layers of both"):
        value_of("layerwise", student, teacher, layers=["middle"])
    wide = replace(teacher, activations={"near": torch.ones(1, 5, 7, 2, 3)})
    with pytest.raises(ConfigError, match="'near' has 2 channels in the student and 7"):
        value_of("layerwise", student, wide, layers=["near"])
