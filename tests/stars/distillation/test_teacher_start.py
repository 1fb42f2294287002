"""A student that starts with its teacher's weights: scales, currents, refusals."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from stars.config.models import StudentConfig
from stars.distillation.teacher_start import (
    GAIN,
    OFFSET,
    architecture,
    check_same_architecture,
    joined,
    measured_scales,
    settle,
    start_from,
)
from stars.errors import ConfigError
from stars.networks.architectures import blueprint
from stars.networks.batch_norm import BatchNorm2d
from stars.networks.student import build, recorded
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module", params=["resnet", "vgg"])
def teacher(request, make_teacher) -> Teacher:
    made: Teacher = make_teacher(request.param)
    return made


def images(count: int = 32) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def plan_of(options: dict[str, object], name: str = "resnet"):
    return blueprint(name, SHAPE, 3, options)


def started(teacher: Teacher, steps: int = 4):
    """The student, and its scales."""
    plan = teacher.network.blueprint
    student = build(plan, steps).eval()
    scales = measured_scales(teacher, images(), 0.995)
    start_from(student, teacher.network, scales)
    return student, scales


# Which architecture


def test_the_teachers_architecture_is_that_of_its_file(make_teacher):
    spec = make_teacher().spec
    config = StudentConfig(architecture="teacher")
    assert architecture(config, spec) == ("resnet", spec.options)


def test_options_of_the_student_go_over_those_of_the_teacher(make_teacher):
    config = StudentConfig(architecture="teacher", options={"stem_stride": 2})
    _, options = architecture(config, make_teacher().spec)
    assert options == {"widths": [4, 6], "depths": [1, 1], "stem_stride": 2}


def test_a_teacher_of_the_users_own_has_no_architecture_to_give():
    spec = TeacherSpec("", {}, SHAPE, 3, (0.5,), (0.5,))
    with pytest.raises(ConfigError, match="a module of your own, which has no spiking"):
        architecture(StudentConfig(architecture="teacher"), spec)
    with pytest.raises(
        ConfigError, match="the teacher is a Sequential; only a teacher"
    ):
        check_same_architecture(plan_of({}), nn.Sequential())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem_stride": 2}, r"has ConvBN\(name='stem'.*stride=2.* instead of ConvBN"),
        ({"widths": [3, 6]}, r"channels=\(1, 3\).* instead of .*channels=\(1, 4\)"),
        ({"depths": [1, 2]}, r"instead of AvgPool.*give --student teacher, or set"),
    ],
)
def test_another_architecture_is_refused_with_the_first_difference(
    make_teacher, options, message
):
    wanted = plan_of({"widths": [4, 6], "depths": [1, 1], **options})
    with pytest.raises(ConfigError, match=message):
        check_same_architecture(wanted, make_teacher().network)


# Scales


def test_a_scale_is_the_quantile_of_a_channels_activation(teacher):
    x = images()
    activations = teacher(x, layers=True).activations
    whole = measured_scales(teacher, x, 1.0)
    for name, activation in activations.items():
        largest = activation.amax((0, 1, 3, 4))
        assert bool((whole[name] >= largest * 0.999).all())
    half = measured_scales(teacher, x, 0.5)
    assert all(bool((half[name] <= whole[name]).all()) for name in whole)


def test_every_scale_is_positive_though_a_channel_never_responds(make_teacher):
    teacher = make_teacher()
    with torch.no_grad():
        teacher.network.layers["stem"].bn.bias[:2] = -100.0
    scales = measured_scales(teacher, images(), 0.995)
    assert all(bool((scale > 0).all()) for scale in scales.values())


def test_layers_that_an_identity_joins_are_found_in_order():
    plan = plan_of({"widths": [4, 6], "depths": [3, 2]})
    first = ["stem_act", "s1b1_act2", "s1b2_act2", "s1b3_act2"]
    assert joined(plan) == [first, ["s2b1_act2", "s2b2_act2"]]
    assert joined(plan_of({"widths": [4, 6], "depths": [1, 1]}, "vgg")) == []


def test_scales_grow_by_the_gain_along_identities(teacher):
    """The least scales that do so and are no smaller than the quantiles."""
    scales = measured_scales(teacher, images(), 0.9)
    activations = teacher(images(), layers=True).activations
    for names in joined(teacher.network.blueprint):
        for one, after in pairwise(names):
            torch.testing.assert_close(scales[after], GAIN * scales[one])
        quantiles = {
            n: activations[n][0].transpose(0, 1).flatten(1).quantile(0.9, 1)
            for n in names
        }
        shares = torch.stack([q / scales[n] for n, q in quantiles.items()])
        assert float(shares.max()) <= 1.02


# Weights


def test_every_current_is_the_scaled_activation_with_gain_and_offset(teacher):
    """With rates that are the scaled activations, layer by layer, in float64."""
    student, scales = started(teacher)
    network = teacher.network
    x = images(8).double()
    values, rates = {"input": x}, {"input": x}
    for spec in network.blueprint.layers:
        match type(spec).__name__:
            case "ConvBN":
                values[spec.name] = folded(
                    network.layers[spec.name], spec, values[spec.source]
                )
                mine = student.layers[spec.name]
                rates[spec.name] = folded(mine, spec, rates[spec.source])
            case "Activation":
                a = sum(values[source] for source in spec.sources).relu()
                current = sum(rates[source] for source in spec.sources)
                values[spec.name] = a
                rates[spec.name] = a / scales[spec.name][:, None, None]
                torch.testing.assert_close(
                    ((current - OFFSET) / GAIN).relu(),
                    rates[spec.name],
                    atol=1e-5,
                    rtol=1e-4,
                )
            case "AvgPool":
                for held in (values, rates):
                    held[spec.name] = nn.functional.avg_pool2d(
                        held[spec.source], spec.kernel
                    )
            case _:
                layer = network.layers[spec.name]
                mine = student.layers[spec.name]
                expected, found = (
                    nn.functional.linear(
                        held[spec.source].flatten(1), *head.double().parameters()
                    )
                    for held, head in ((values, layer), (rates, mine))
                )
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
                layer.float()


def folded(layer, spec, x: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.folded()
    return nn.functional.conv2d(x, weight, bias, spec.stride, spec.padding)


def test_its_rates_follow_the_teachers_activations(teacher):
    """At many steps, after the first layer, whose current is held."""
    student, scales = started(teacher, steps=32)
    x = images()
    first = next(iter(scales))
    with torch.no_grad(), recorded(student) as seen:
        student(x)
    rate = seen[first][0].mean(0)
    a = teacher(x, layers=True).activations[first][0]
    target = (a / scales[first][:, None, None]).clamp(0, 1)
    pair = torch.stack([rate.flatten(), target.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.9


def test_settled_statistics_are_the_means_over_the_batches(teacher):
    student, _ = started(teacher)
    layer = next(m for m in student.modules() if isinstance(m, BatchNorm2d))
    seen = []
    layer.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    settle(student, images().chunk(2))
    assert layer.momentum == 0.1
    assert len(seen) == 2
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(layer.running_mean, means)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in seen])
    torch.testing.assert_close(layer.running_var, variances.mean(0))


def test_the_teacher_is_left_as_it_was(make_teacher):
    teacher = make_teacher()
    before = teacher.checksum()
    student, _ = started(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert teacher.checksum() == before


def test_a_compiled_teacher_gives_the_same_student(make_teacher):
    plain = make_teacher()
    student, scales = started(plain)
    fused = plain.compiled()
    other = build(plain.network.blueprint, 4)
    start_from(other, fused.network, scales)
    for name, value in student.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
