"""Laws over METHODS, and tests of single methods."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch

from stars.config.models import DistillConfig, SynthesisConfig, TermConfig
from stars.config.recipes import RECIPES
from stars.errors import ConfigError
from stars.networks.architectures import blueprint
from stars.networks.outputs import Outputs
from stars.networks.student import build, with_membranes
from stars.objective import bind
from stars.priors import PRIORS
from stars.synthesis import METHODS, synthesizer
from stars.synthesis.generator import Generator
from stars.synthesis.views import shifted, zoomed

every_method = pytest.mark.parametrize("method", sorted(METHODS))
asking = pytest.mark.parametrize("method", sorted(set(METHODS) - {"dafl", "dfq"}))
ONE_BATCH = {"deepinversion", "cmi", "fast"}  # a round returns one batch


class Recorded(torch.nn.Module):
    """A student whose outputs hold membranes, so that every prior can be evaluated."""

    def __init__(self, student) -> None:
        super().__init__()
        self.student = student.eval()

    def forward(self, images: torch.Tensor) -> Outputs:
        return with_membranes(self.student, images)


@pytest.fixture(scope="module")
def networks(make_teacher):
    teacher = make_teacher()
    spec = teacher.spec
    torch.manual_seed(0)
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    student = build(plan, steps=2).eval().requires_grad_(requires_grad=False)
    return teacher, Recorded(student)


def make(method: str, teacher, *names: str, **changes):
    values = {"batch_size": 12, "steps": 3, "harvest": 2, "latent": 8, "width": 4}
    config = SynthesisConfig.model_validate(
        {"method": method, "bf16": False, **values, **changes}
    )
    terms = [TermConfig(name=name) for name in names or sorted(PRIORS)]
    torch.manual_seed(1)
    return synthesizer(teacher, bind(PRIORS, terms, "prior"), config)


@every_method
def test_a_round_gives_images_of_pixels_and_every_terms_value(method, networks):
    teacher, student = networks
    images, values = make(method, teacher).round(student)
    assert images.shape == (12 if method in ONE_BATCH else 24, 1, 8, 8)
    assert images.dtype == torch.float32
    assert not images.requires_grad
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    terms = {*PRIORS, "contrastive"} if method == "cmi" else set(PRIORS)
    assert set(values) == terms | {f"gradient/{name}" for name in terms}
    assert all(torch.tensor([*values.values()]).isfinite())


GENERATORS = sorted(set(METHODS) - ONE_BATCH)


@pytest.mark.parametrize("method", GENERATORS)
def test_images_of_the_steps_are_those_after_the_first_third(method, networks):
    """Six steps of 12 images: at most 48 images, each once."""
    teacher, student = networks

    def harvested(count: int):
        values = {"steps": 6, "harvest": count, "harvest_from": "steps"}
        return make(method, teacher, **values).round(student)[0]

    assert harvested(3).shape == (36, 1, 8, 8)
    images = harvested(9)
    assert images.shape == (48, 1, 8, 8)
    assert len(torch.unique(images, dim=0)) == 48
    assert not images.requires_grad


@every_method
def test_every_term_pulls_at_the_images(method, networks):
    """No gradient is cut; only ADV may be 0, where the predictions differ."""
    teacher, student = networks
    values = make(method, teacher, batch_size=60).round(student)[1]
    lengths = {k: v for k, v in values.items() if k.startswith("gradient/")}
    assert min(lengths.values()) > 0


@every_method
def test_a_round_leaves_both_networks_as_they_were(method, networks):
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    make(method, networks[0]).round(networks[1])
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
        assert all(p.grad is None for p in network.parameters())
        assert not any(m.training for m in network.modules() if not m._modules)


@every_method
def test_longer_rounds_come_nearer_to_the_teachers_statistics(method, networks):
    teacher, student = networks
    ends = [
        make(method, teacher, "batch_norm", steps=steps, learning_rate=0.02).round(
            student
        )[1]["batch_norm"]
        for steps in (1, 40)
    ]
    assert ends[1] < 0.8 * ends[0]


@every_method
def test_the_images_of_one_round_differ(method, networks):
    teacher, student = networks
    images, _ = make(method, teacher, steps=20).round(student)
    assert len(torch.unique((images * 255).round(), dim=0)) == len(images)


@every_method
def test_the_same_seed_makes_the_same_images(method, networks):
    teacher, student = networks
    one, other = (make(method, teacher).round(student)[0] for _ in range(2))
    assert torch.equal(one, other)
    torch.manual_seed(7)
    assert not torch.equal(make(method, teacher, steps=2).round(student)[0], one)


@every_method
def test_a_state_goes_into_another_one_that_then_makes_the_same_images(
    method, networks
):
    """Two more rounds, so that the state after the first one matters too."""
    teacher, student = networks
    first = make(method, teacher)
    first.round(student)
    second = make(method, teacher)
    second.round(student)
    second.round(student)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    results = []
    for one in (first, second):
        torch.manual_seed(5)
        results.append([one.round(student)[0] for _ in range(2)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def seen_labels(method, teacher, student, **changes) -> list[list[int]]:
    """The labels of every step of a round."""
    asked = []

    def labels(state) -> torch.Tensor:
        asked.append(state.labels.tolist())
        return state.images.square().mean()

    torch.manual_seed(0)
    values = {"batch_size": 12, "steps": 2, "harvest": 1, "latent": 4, "width": 4}
    config = SynthesisConfig.model_validate({"method": method, **values, **changes})
    terms = bind({"labels": labels}, [TermConfig(name="labels")], "prior")
    one = synthesizer(teacher, terms, config)
    for _ in range(12):
        one.round(student)
    return asked


@asking
def test_classes_are_asked_for_equally_often(method, networks):
    for step in seen_labels(method, *networks):
        assert Counter(step) == {0: 4, 1: 4, 2: 4}


@asking
def test_every_class_is_asked_for_even_where_a_batch_is_smaller(method, networks):
    """With three classes and two images per batch, the third class must appear too."""
    steps = seen_labels(method, *networks, batch_size=2)
    assert {label for step in steps for label in step} == {0, 1, 2}


@pytest.mark.parametrize("method", ["dafl", "dfq"])
def test_where_no_class_is_asked_for_the_label_is_what_the_teacher_sees(
    method, networks
):
    teacher, student = networks
    seen = []

    def check(state) -> torch.Tensor:
        named = state.teacher.mean_logits.argmax(1)
        seen.append(torch.equal(state.labels, named))
        return state.images.mean()

    terms = bind({"check": check}, [TermConfig(name="check")], "prior")
    config = SynthesisConfig(method=method, steps=2, batch_size=4, latent=4, width=4)
    synthesizer(teacher, terms, config).round(student)
    assert seen == [True, True]


@every_method
def test_a_round_judges_as_many_images_as_its_recipe_says(method, networks):
    """So the methods of an ablation have one budget."""
    teacher, student = networks
    one = make(method, teacher, steps=4)
    with teacher.counted() as judged:
        one.round(student)
    assert sum(judged) == 4 * 12 * RECIPES[method].passes


@every_method
def test_an_unknown_option_is_refused_with_those_that_there_are(method, networks):
    with pytest.raises(ConfigError, match=rf"'{method}' has no option .'color'.; it"):
        make(method, networks[0], options={"color": 1})


def test_options_have_types(networks):
    with pytest.raises(ConfigError, match=r"'fast': option 'code_rate' is 'slow'"):
        make("fast", networks[0], options={"code_rate": "slow"})
    with pytest.raises(ConfigError, match=r"cmi: temperature is 0\.0"):
        make("cmi", networks[0], options={"temperature": 0.0})


# Recipes


def test_every_method_has_a_recipe_whose_names_are_known():
    assert RECIPES.keys() == METHODS.keys()
    for name, recipe in RECIPES.items():
        fresh = {"student": {"start": "fresh"}, "synthesis": {"method": name}}
        config = DistillConfig.model_validate(fresh)
        terms = bind(PRIORS, config.prior, "prior")
        assert [t.name for t in terms] == list(recipe.prior)
        for key, value in recipe.synthesis.items():
            assert getattr(config.synthesis, key) == value


def test_what_is_given_goes_over_the_recipe():
    config = DistillConfig.model_validate(
        {
            "synthesis": {"method": "cmi", "steps": 7},
            "prior": [{"name": "batch_norm", "weight": 3.0}],
        }
    )
    assert (config.synthesis.steps, config.synthesis.learning_rate) == (7, 1e-3)
    assert [(t.name, t.weight) for t in config.prior] == [("batch_norm", 3.0)]


# Single methods


def test_the_forgetful_generator_begins_every_round_anew(networks):
    """At this rate nothing is learned, so only reset weights change."""
    teacher, student = networks
    one = make("forgetful", teacher, steps=1, learning_rate=1e-20)
    before = {k: v.clone() for k, v in one.generator.named_parameters()}
    one.round(student)
    after = dict(one.generator.named_parameters())
    changed = {k for k, v in before.items() if not torch.allclose(v, after[k])}
    assert changed == {"embed.weight", "embed.bias"}


def test_fast_learns_from_the_gradients_of_all_steps(networks):
    """The copy starts from the meta generator, which moves once per round."""
    teacher, student = networks
    one = make("fast", teacher, steps=3)
    before = [p.detach().clone() for p in one.generator.parameters()]
    one.round(student)
    moved = [
        (p.detach() - b).abs().max()
        for p, b in zip(one.generator.parameters(), before, strict=True)
    ]
    # Adam's first step is its rate, which is steps x the learning rate, at most.
    assert 0 < max(moved) <= 3 * 4e-3 * 1.001


def test_deepinversion_returns_what_the_teacher_was_shown(networks):
    """With a learning rate of 0 the images are the clipped initial noise."""
    teacher, student = networks
    images, _ = make("deepinversion", teacher, learning_rate=1e-20).round(student)
    torch.manual_seed(1)
    noise = torch.randn(12, 1, 8, 8)
    expected = (noise * 0.3 + 0.45).clamp(0, 1)
    torch.testing.assert_close(images, expected)


def test_cmi_remembers_the_newest_features(networks):
    teacher, student = networks
    one = make("cmi", teacher, options={"memory": 30})
    sizes = []
    for _ in range(4):
        one.round(student)
        sizes.append(len(one.memory))
    assert sizes == [12, 24, 30, 30]


def test_contrast_is_low_where_every_image_is_its_own_nearest(networks):
    """Distant features are distinguished; equal ones are not: ln 4."""
    one = make("cmi", networks[0])
    one.head = torch.nn.Identity()
    apart = torch.eye(4, one.memory.shape[1] // 2)
    assert float(one._contrastive(apart, apart)) == pytest.approx(0, abs=2e-4)
    same = torch.ones_like(apart)
    assert float(one._contrastive(same, same)) == pytest.approx(1.3863, abs=1e-3)


# Views


def test_a_shift_is_by_whole_pixels_up_to_an_eighth():
    """One bright pixel of 16 x 16 stays one pixel, at most two away, or mirrored."""
    image = torch.zeros(64, 1, 16, 16)
    image[..., 8, 8] = 1.0
    torch.manual_seed(0)
    seen = shifted(image)
    assert torch.allclose(seen.sum((1, 2, 3)), torch.ones(64), atol=1e-4)
    spots = {divmod(int(i.argmax()), 16) for i in seen}
    assert {row for row, _ in spots} == set(range(6, 11))
    assert {column for _, column in spots} <= set(range(5, 11))


def test_a_zoom_shows_nothing_from_outside_and_passes_gradients():
    image = torch.rand(8, 2, 12, 12, requires_grad=True)
    torch.manual_seed(0)
    seen = zoomed(image + 1)
    # Half a border pixel blends with the black outside.
    assert float(seen.detach()[..., 2:-2, 2:-2].min()) >= 0.99
    seen.sum().backward()
    assert float(image.grad.abs().max()) > 0


# The generator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 6), (2, 1, 1)])
def test_a_generator_makes_images_of_any_size(shape):
    generator = Generator(shape, latent=4, width=4, classes=5)
    images = generator(torch.randn(3, 4), torch.tensor([0, 4, 2]))
    assert images.shape == (3, *shape)
    assert 0 <= images.detach().min() <= images.detach().max() <= 1
    assert Generator(shape, latent=4, width=4)(torch.randn(2, 4)).shape == (2, *shape)


def test_forgetting_changes_the_first_layer_alone():
    generator = Generator((1, 8, 8), latent=4, width=4, classes=3)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.forget()
    changed = {
        k for k, v in generator.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == {"embed.weight", "embed.bias"}


def test_noise_and_label_both_change_the_image():
    generator = Generator((1, 8, 8), latent=4, width=4, classes=3).eval()
    noise = torch.randn(2, 4)
    one = generator(noise, torch.tensor([0, 0]))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, generator(noise, torch.tensor([1, 1])))
