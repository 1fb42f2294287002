"""A user's own module is read by what it computes."""

import logging
import warnings
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from stars.errors import ConfigError
from stars.teacher.loading import own_teacher
from stars.teacher.spec import TeacherSpec

SPEC = TeacherSpec("", {}, (1, 8, 8), 3, (0.5,), (0.5,))
IMAGES = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8).sin()
Pair = namedtuple("Pair", ["features", "logits"])


class Net(nn.Module):
    """The head is registered first, and other Linear layers after it."""

    def __init__(self, end=lambda scores, _: scores, norm=nn.BatchNorm2d):
        super().__init__()
        self.fc, self.conv, self.norm = nn.Linear(6, 3), nn.Conv2d(1, 6, 3), norm(6)
        self.squeeze, self.excite, self.end = nn.Linear(6, 3), nn.Linear(3, 6), end

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        features = (x * gate[:, :, None, None]).mean((2, 3))
        return self.end(self.fc(features), features)


class ConvHead(nn.Sequential):
    def __init__(self):
        pool = nn.AdaptiveAvgPool2d(1)
        super().__init__(nn.Conv2d(1, 6, 3), pool, nn.Conv2d(6, 3, 1), nn.Flatten())


def teacher_of(network, seed=0):
    torch.manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return own_teacher(network, SPEC, "net")


ENDS = {
    "scores": lambda s, _: s,
    "a pair": lambda s, f: (s, f),
    "features first": lambda s, f: (f, s),
    "a mapping": lambda s, f: {"features": f, "pred": s},
    "nested": lambda s, f: [{"deep": (f, s)}],
    "a named tuple": lambda s, f: Pair(f, s),
    "an auxiliary score": lambda s, _: {"logits": s, "aux": s * 2},
    "probabilities": lambda s, _: s.softmax(1),
    "log-probabilities": lambda s, _: s.log_softmax(1),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_head_and_the_scores_are_found_in_what_it_returns(end, caplog):
    teacher = teacher_of(Net(end))
    outputs = teacher(IMAGES)
    assert outputs.head is not None
    assert torch.equal(outputs.head, teacher.network.fc.weight)
    expected = teacher.network.fc(outputs.features[0])
    torch.testing.assert_close(
        outputs.mean_logits.log_softmax(1), expected.log_softmax(1)
    )
    assert ("returns probabilities" in caplog.text) == (end is ENDS["probabilities"])
    assert outputs.features.shape == (1, 4, 6)


def test_a_convolution_of_one_pixel_can_be_the_head():
    outputs = teacher_of(ConvHead())(IMAGES)
    scores = outputs.mean_features @ outputs.head.T
    bias = outputs.mean_logits - scores
    torch.testing.assert_close(bias, bias[:1].expand_as(bias))


def test_probabilities_that_underflow_stay_finite():
    teacher = teacher_of(Net(lambda s, _: (s * 1).softmax(1)))
    with torch.no_grad():
        teacher.network.fc.weight.mul_(1e4)
    assert teacher(IMAGES).logits.isfinite().all()


REFUSED = {
    "two scores": (
        lambda: Net(lambda s, _: (s, s + 1)),
        r"several tensors \[B, 3\], in the result\[0\], the result\[1\]",
    ),
    "none": (lambda: Net(lambda _, f: f), r"the result \(6,\) for an image"),
    "text": (lambda: Net(lambda *_: "cat"), "returned str with scores of shape none"),
    "a function behind": (
        lambda: Net(lambda s, _: s.square()),
        "no Linear layer that gives class scores",
    ),
    "constant": (lambda: Net(lambda s, _: s * 0), "the same score for every probe"),
    "another size": (lambda: nn.Linear(5, 3), "does not accept an image"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_understood_is_refused_for_its_reason(make, message):
    with pytest.raises(ConfigError, match=message):
        teacher_of(make())


def test_torchscript_is_refused_for_its_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and people have such files
        network = torch.jit.trace(Net().eval(), IMAGES, check_trace=False)
    with pytest.raises(ConfigError, match="is TorchScript, whose layers cannot be"):
        own_teacher(network, SPEC, "net")


def test_randomness_in_evaluation_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        teacher_of(Net(lambda s, _: s))
        assert not caplog.text
        teacher = teacher_of(nn.Sequential(Drop(), Net()))
    assert "is random in evaluation" in caplog.text
    assert teacher(IMAGES).logits.shape == (1, 4, 3)


class Drop(nn.Module):
    def forward(self, x):
        return F.dropout(x)  # its default ignores self.training


def test_scores_that_depend_on_the_batch_are_told(caplog):
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    teacher_of(nn.Sequential(norm, Net()))
    assert "gives an image other scores in another batch" in caplog.text


def test_probing_takes_no_random_numbers():
    torch.manual_seed(3)
    network = nn.Sequential(Drop(), Net())
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    own_teacher(network, SPEC, "net")
    assert torch.rand(1) == want


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d],
    ids=lambda n: n.__name__,
)
def test_every_module_with_running_statistics_is_tapped(norm):
    teacher = teacher_of(Net(norm=norm))
    teacher.check_statistics(["batch_norm"])
    with teacher.tapped() as taps:
        teacher(IMAGES)
    (tap,) = taps
    assert tap.layer is teacher.network.norm
    assert tap.inputs.shape == (4, 6, 6, 6)


def grouped(channels):
    return nn.GroupNorm(2, channels)


@pytest.mark.parametrize("norm", [grouped, nn.Identity])
def test_a_network_without_statistics_teaches_what_reads_none(norm):
    teacher = teacher_of(Net(norm=norm))
    assert teacher(IMAGES).logits.shape == (1, 4, 3)
    with pytest.raises(ConfigError, match="or a method and priors that read none"):
        teacher.check_statistics(["batch_norm"])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken(kind):
    teacher = own_teacher(Net().to(kind), SPEC, "net")
    assert teacher(IMAGES).logits.dtype == torch.float32


def test_a_compiled_module_is_its_module():
    network = Net()
    assert own_teacher(torch.compile(network), SPEC, "net").network is network
