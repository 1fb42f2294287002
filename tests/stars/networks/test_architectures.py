"""One blueprint makes teacher and student; wrong options are refused."""

from __future__ import annotations

import pytest
import torch

from stars.errors import ConfigError, DataError
from stars.networks.architectures import ARCHITECTURES, blueprint
from stars.networks.blueprint import Activation, ConvBN, Head
from stars.networks.network import ann
from stars.networks.student import build, lif_layers, with_membranes

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"widths": [4, 6], "depths": [1, 2]}
both = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


@both
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_one_blueprint_makes_the_teacher_and_the_student(
    name, channels, size, stem_stride
):
    options = {**SMALL, "stem_stride": stem_stride}
    plan = blueprint(name, (channels, size, size), 10, options)
    images = torch.randn(2, channels, size, size)
    teacher, student = ann(plan), build(plan, steps=3)
    answer, reply = teacher(images), student(images)
    assert answer.logits.shape == (1, 2, 10)
    assert reply.logits.shape == (3, 2, 10)
    assert answer.features.shape == (1, 2, 6)
    assert reply.features.shape == (3, 2, 6)
    for outputs in (answer, reply):  # the head reads the mean of the last stage
        mean = outputs.maps.mean((3, 4))
        torch.testing.assert_close(mean, outputs.features)
    weights = {k: v.shape for k, v in teacher.state_dict().items()}
    assert {k: v.shape for k, v in student.state_dict().items()} == weights


@both
def test_the_first_activation_encodes_and_the_last_layer_is_the_head(name):
    layers = blueprint(name, (1, 8, 8), 10, SMALL).layers
    activations = [spec for spec in layers if isinstance(spec, Activation)]
    assert [spec.encodes for spec in activations] == [True] + [False] * (
        len(activations) - 1
    )
    assert isinstance(layers[-1], Head)


@both
def test_every_layer_reads_layers_before_it(name):
    seen = {"input"}
    for spec in blueprint(name, (1, 8, 8), 10, SMALL).layers:
        sources = spec.sources if isinstance(spec, Activation) else (spec.source,)
        assert set(sources) <= seen
        seen.add(spec.name)


def test_a_stage_that_changes_shape_has_a_projection_and_others_the_identity():
    plan = blueprint("resnet", (1, 8, 8), 10, {"widths": [4, 6], "depths": [1, 2]})
    joins = {s.name: s.sources for s in plan.layers if isinstance(s, Activation)}
    assert joins["s1b1_act2"] == ("s1b1_conv2", "stem_act")
    assert joins["s2b1_act2"] == ("s2b1_conv2", "s2b1_shortcut")
    assert joins["s2b2_act2"] == ("s2b2_conv2", "s2b1_act2")
    (projection,) = [s for s in plan.layers if s.name == "s2b1_shortcut"]
    assert projection == ConvBN("s2b1_shortcut", "s1b1_act2", (4, 6), 1, 2)


def test_depths_two_two_two_two_is_resnet_18():
    options = {"widths": [4] * 4, "depths": [2] * 4}
    plan = blueprint("resnet", (3, 32, 32), 10, options)
    weighted = [
        s
        for s in plan.layers
        if isinstance(s, ConvBN | Head) and "shortcut" not in s.name
    ]
    assert len(weighted) == 18


@both
def test_the_student_starts_alive(name):
    torch.manual_seed(0)
    network = build(blueprint(name, (1, 8, 8), 3, SMALL), steps=4)
    rates = {}
    for layer_name, layer in lif_layers(network).items():
        layer.observer = lambda spikes, _, key=layer_name: rates.update(
            {key: float(spikes.mean())}
        )
    with torch.no_grad():
        network(torch.randn(32, 1, 8, 8))
    assert len(rates) == len(lif_layers(network))
    assert all(0.01 < rate < 0.6 for rate in rates.values()), rates


def test_an_unknown_architecture_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"'alexnet' is unknown.*resnet.*vgg"):
        blueprint("alexnet", (1, 8, 8), 10, {})


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"width": [4]},
            "no option .'width'. .did you mean 'widths'.*'stem_stride', '",
        ),
        ({"widths": 16}, "option 'widths' is 16"),
        ({"widths": [4.5], "depths": [1]}, "option 'widths' is .4.5."),
        ({"stem_stride": True}, "option 'stem_stride' is True"),
        ({"widths": [4, 8], "depths": [1]}, "must be of one length"),
        ({"widths": [], "depths": []}, "at least 1"),
        ({"widths": [0], "depths": [1]}, "must be at least 1"),
        ({"stem_stride": 0}, "must be at least 1"),
    ],
)
def test_wrong_options_are_told(name, options, message):
    with pytest.raises(ConfigError, match=message):
        blueprint(name, (1, 8, 8), 10, options)


@both
@pytest.mark.parametrize(
    ("shape", "classes"), [((8, 8), 10), ((1, 8, 8), 1), ((1, 0, 8), 10)]
)
def test_images_and_classes_that_cannot_be_are_refused(name, shape, classes):
    with pytest.raises(ConfigError, match="at least 2 classes"):
        blueprint(name, shape, classes, {})


@both
def test_images_that_are_not_square_are_refused(name):
    with pytest.raises(ConfigError, match="must be square"):
        blueprint(name, (1, 8, 12), 10, SMALL)


def test_vgg_refuses_to_halve_an_odd_size():
    options = {"widths": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}
    with pytest.raises(ConfigError, match="stage 4 would have to halve 7 px"):
        blueprint("vgg", (1, 28, 28), 10, options)


@both
def test_a_network_refuses_images_of_another_size(name):
    network = ann(blueprint(name, (1, 8, 8), 10, SMALL))
    with pytest.raises(DataError, match=r"\(2, 1, 9, 8\), expected \[B, 1, 8, 8\]"):
        network(torch.zeros(2, 1, 9, 8))


# Named architectures

PARAMETERS = {  # of a teacher for CIFAR-10
    "resnet8": 78_042,
    "resnet18": 11_173_962,
    "resnet20": 272_474,
    "resnet34": 21_282_122,
    "vgg11": 9_228_362,
    # 448 more than with activations before convolutions: the projections' BN
    "wrn16-2": 692_122,
    "wrn40-2": 2_243_994,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_named_architecture_has_the_size_that_it_is_known_for(name):
    with torch.device("meta"):
        teacher = ann(blueprint(name, (3, 32, 32), 10, {}))
    assert sum(p.numel() for p in teacher.parameters()) == PARAMETERS[name]


def test_a_named_architecture_takes_the_options_of_its_builder():
    plan = blueprint("resnet18", (3, 32, 32), 10, {"stem_stride": 2})
    assert plan == blueprint(
        "resnet",
        (3, 32, 32),
        10,
        {"widths": [64, 128, 256, 512], "depths": [2] * 4, "stem_stride": 2},
    )
    with pytest.raises(
        ConfigError,
        match=r"'wrn16-2' has no option .'width'. .did you",
    ):
        blueprint("wrn16-2", (3, 32, 32), 10, {"width": 2})
    with pytest.raises(ConfigError, match="stem_width is 0, expected at least 1"):
        blueprint("wrn16-2", (3, 32, 32), 10, {"stem_width": 0})


@both
@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_changes_no_bit_of_gradients_and_running_statistics(name, bf16):
    plan = blueprint(name, (1, 8, 8), 3, SMALL)
    images = torch.randn(6, 1, 8, 8)
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = build(plan, steps=3)
        network.checkpointing = checkpointing
        inputs = images.clone().requires_grad_()
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = network(inputs)
            (outputs.logits.square().sum() + outputs.maps.sum()).backward()
        found = {n: p.grad for n, p in network.named_parameters()}
        results.append({**found, "x": inputs.grad, **dict(network.named_buffers())})
    plain, recomputed = results
    assert any("running_var" in name for name in plain)
    for key, value in plain.items():
        assert torch.equal(value, recomputed[key]), key


def test_checkpointing_leaves_the_membranes_and_their_gradient():
    network = build(blueprint("resnet", (1, 8, 8), 3, SMALL), steps=2).eval()
    images = torch.randn(4, 1, 8, 8)
    gradients = []
    for network.checkpointing in (False, True):
        inputs = images.clone().requires_grad_()
        membranes = with_membranes(network, inputs).membranes
        torch.stack([v.square().mean() for v in membranes]).sum().backward()
        gradients.append(inputs.grad)
    assert network.checkpointing
    assert torch.equal(*gradients)


def test_checkpointing_runs_every_population_twice():
    passes = []
    network = build(blueprint("resnet", (1, 8, 8), 3, SMALL), steps=2)
    network.checkpointing = True
    for layer in lif_layers(network).values():
        layer.register_forward_pre_hook(lambda *_: passes.append(1))
    network(torch.randn(4, 1, 8, 8)).logits.sum().backward()
    assert len(passes) == 2 * len(lif_layers(network))
