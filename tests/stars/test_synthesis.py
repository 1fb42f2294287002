"""Generators and the methods that train them."""

from __future__ import annotations

import pytest
import torch

from stars.architectures import blueprint
from stars.config import SynthesisConfig, TermConfig
from stars.generators import ConditionalGenerator
from stars.priors import PRIORS
from stars.student import build
from stars.synthesis import METHODS
from stars.terms import bind

every_method = pytest.mark.parametrize("method", sorted(METHODS))


@pytest.fixture(scope="module")
def networks(make_teacher):
    teacher = make_teacher()
    spec = teacher.spec
    torch.manual_seed(0)
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    return teacher, build(plan, steps=2).eval().requires_grad_(requires_grad=False)


def synthesiser(method: str, teacher, *names: str, **changes):
    values = {"batch_size": 12, "steps": 3, "harvest": 2, "latent": 8, "width": 4}
    config = SynthesisConfig.model_validate({"bf16": False, **values, **changes})
    terms = [TermConfig(name=name) for name in names or sorted(PRIORS)]
    torch.manual_seed(1)
    return METHODS[method](teacher, bind(PRIORS, terms, "prior"), config)


@every_method
def test_a_round_gives_images_of_pixels_and_every_terms_value(method, networks):
    teacher, student = networks
    images, values = synthesiser(method, teacher).round(student)
    assert images.shape == (24, 1, 8, 8)
    assert not images.requires_grad
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert set(values) == set(PRIORS)


@every_method
def test_longer_rounds_come_nearer_to_the_teachers_statistics(method, networks):
    teacher, student = networks
    ends = [
        synthesiser(
            method, teacher, "batch_norm", steps=steps, learning_rate=0.02
        ).round(student)[1]["batch_norm"]
        for steps in (1, 40)
    ]
    assert ends[1] < 0.7 * ends[0]


@every_method
def test_the_images_of_one_round_differ(method, networks):
    teacher, student = networks
    images, _ = synthesiser(method, teacher, steps=20).round(student)
    assert len(torch.unique((images * 255).round(), dim=0)) == len(images)


@every_method
def test_a_state_goes_into_another_one_that_then_makes_the_same_images(
    method, networks
):
    teacher, student = networks
    first = synthesiser(method, teacher)
    first.round(student)
    second = synthesiser(method, teacher, steps=4)
    second.load_state_dict(first.state_dict())
    results = []
    for one in (first, second):
        one.config = SynthesisConfig.model_validate(
            {**one.config.model_dump(), "steps": 3}
        )
        torch.manual_seed(5)
        results.append(one.round(student)[0])
    assert torch.equal(*results)


@every_method
def test_every_class_is_asked_for_even_where_a_batch_is_smaller(method, networks):
    """Three classes, two images a batch: the third must have its turn."""
    teacher, student = networks
    asked: set[int] = set()

    def labels(state) -> torch.Tensor:
        asked.update(state.labels.tolist())
        return state.images.square().mean()

    torch.manual_seed(0)
    config = SynthesisConfig(batch_size=2, steps=20, harvest=1, latent=4, width=4)
    terms = bind({"labels": labels}, [TermConfig(name="labels")], "prior")
    METHODS[method](teacher, terms, config).round(student)
    assert asked == {0, 1, 2}


def test_the_forgetful_generator_begins_every_round_anew(networks):
    """Nothing is learned at this rate: what changes was forgotten."""
    teacher, student = networks
    one = synthesiser("forgetful", teacher, steps=1, learning_rate=1e-20)
    before = {k: v.clone() for k, v in one.generator.named_parameters()}
    one.round(student)
    after = dict(one.generator.named_parameters())
    changed = {k for k, v in before.items() if not torch.allclose(v, after[k])}
    assert changed == {"embed.weight", "embed.bias"}


# The generator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 6), (2, 1, 1)])
def test_a_generator_makes_images_of_any_size(shape):
    generator = ConditionalGenerator(shape, 5, latent=4, width=4)
    images = generator(torch.randn(3, 4), torch.tensor([0, 4, 2]))
    assert images.shape == (3, *shape)
    assert 0 <= images.detach().min() <= images.detach().max() <= 1


def test_forgetting_changes_the_first_layer_alone():
    generator = ConditionalGenerator((1, 8, 8), 3, latent=4, width=4)
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.forget()
    changed = {
        k for k, v in generator.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == {"embed.weight", "embed.bias"}


def test_noise_and_label_both_change_the_image():
    generator = ConditionalGenerator((1, 8, 8), 3, latent=4, width=4).eval()
    noise = torch.randn(2, 4)
    one = generator(noise, torch.tensor([0, 0]))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, generator(noise, torch.tensor([1, 1])))
