"""Teachers are loaded completely or refused with a reason."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stars.data import images as data
from stars.errors import ConfigError, FormatError, StarsError
from stars.teacher import loading as teachers
from stars.teacher.loading import load, save
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

IMAGES = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


@pytest.fixture(scope="module")
def teacher(make_teacher) -> Teacher:
    return make_teacher()


def same(a: Teacher, b: Teacher) -> bool:
    return torch.equal(a(IMAGES).logits, b(IMAGES).logits)


# Files


def test_a_saved_teacher_describes_itself(teacher, tmp_path: Path):
    noted = Teacher(teacher.network, replace(teacher.spec, notes={"epochs": 3}))
    save(noted, tmp_path / "a.safetensors")
    loaded = load(str(tmp_path / "a.safetensors"))
    assert loaded.spec == noted.spec
    assert same(loaded, teacher)
    assert loaded.checksum() == teacher.checksum()


@pytest.mark.parametrize("nested", [True, False])
def test_a_pt_state_dict_is_read_with_a_description(teacher, tmp_path, nested):
    weights = teacher.network.state_dict()
    torch.save({"state_dict": weights} if nested else weights, tmp_path / "a.pt")
    assert same(load(str(tmp_path / "a.pt"), teacher.spec), teacher)


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["HARM"],)


def test_a_pickle_that_would_run_code_is_refused_unrun(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    torch.save({"a": Harmful()}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="not a state dict that can be read safely"):
        load(str(tmp_path / "a.pt"), teacher.spec)
    assert not (tmp_path / "harm").exists()


def test_a_pt_file_of_something_else_is_refused(teacher, tmp_path):
    for content in ([1, 2], {"epoch": 3}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(FormatError, match="holds no state dict of tensors"):
            load(str(tmp_path / "a.pt"), teacher.spec)
    (tmp_path / "b.pt").write_bytes(b"not a pickle")
    with pytest.raises(FormatError, match="not a state dict"):
        load(str(tmp_path / "b.pt"), teacher.spec)


def test_a_missing_file_is_told():
    for name in ("a.safetensors", "a.pt", "a.pth", "a.ckpt", "a.pth.tar", "a.bin"):
        with pytest.raises(FormatError, match=rf"{name}': no such file"):
            load(f"/no/such/folder/{name}")


def test_a_foreign_safetensors_file_needs_a_description(teacher, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(
        {k: v.contiguous() for k, v in teacher.network.state_dict().items()}, path
    )
    with pytest.raises(ConfigError, match="contains no description: give architect"):
        load(str(path))
    assert same(load(str(path), teacher.spec), teacher)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0hello", b"x" * 100])
def test_what_is_not_safetensors_is_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="not a safetensors file"):
        load(str(tmp_path / "a.safetensors"))


def test_a_damaged_description_is_told(teacher, tmp_path):
    path, weights = tmp_path / "a.safetensors", {"w": torch.zeros(1)}
    for text in ("{", '{"architecture": "resnet"}', teacher.spec.to_json()[:-9] + "}"):
        save_file(weights, path, metadata={teachers.METADATA_KEY: text})
        with pytest.raises(FormatError, match="description is damaged"):
            load(str(path))


HUGE = [
    {"classes": 2**40},
    {"classes": 2**70},
    {"options": {"widths": [2**31, 2**31], "depths": [1, 1]}},
    {"options": {"widths": [4, 6], "depths": [1, 10**9]}},
    {"input_shape": (2**31, 8, 8)},
]


@pytest.mark.parametrize("changes", HUGE)
def test_a_description_of_a_huge_network_allocates_nothing(teacher, tmp_path, changes):
    path = tmp_path / "a.safetensors"
    spec = {**json.loads(teacher.spec.to_json()), **changes}
    weights = {k: v.contiguous() for k, v in teacher.network.state_dict().items()}
    save_file(weights, path, metadata={teachers.METADATA_KEY: json.dumps(spec)})
    with pytest.raises(StarsError):
        load(str(path))


def test_a_pt_that_is_a_zip_bomb_is_refused(teacher, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(2**28 + 2**24))
    with pytest.raises(FormatError, match="unpacks to"):
        load(str(tmp_path / "a.pt"), teacher.spec)


def test_weights_of_another_architecture_are_refused(teacher, tmp_path):
    torch.save(teacher.network.state_dict(), tmp_path / "a.pt")
    other = replace(teacher.spec, architecture="vgg")
    with pytest.raises(FormatError, match=r"a\.pt' is not a vgg with options") as error:
        load(str(tmp_path / "a.pt"), other)
    assert "s1_conv1" in str(error.value)
    assert len(str(error.value)) - len(str(tmp_path)) < 300
    unknown = replace(teacher.spec, architecture="alexnet")
    with pytest.raises(ConfigError, match="'alexnet' is unknown"):
        load(str(tmp_path / "a.pt"), unknown)


def test_weights_that_are_not_finite_are_refused(teacher, tmp_path):
    weights = {k: v.clone() for k, v in teacher.network.state_dict().items()}
    weights["layers.head.bias"][0] = torch.nan
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="holds NaN or infinity"):
        load(str(tmp_path / "a.pt"), teacher.spec)


def test_a_source_of_no_known_kind_lists_what_is_allowed():
    with pytest.raises(
        ConfigError, match=r"allowed are 'fashion-mnist', a \.safetensors"
    ):
        load("my-teacher")


def test_the_bundled_teacher_names_the_bundled_images():
    """On the first 200 images; the README states its accuracy on all."""
    bundled, test = load("fashion-mnist"), data.load("fashion-mnist").first(200)
    assert bundled.spec.input_shape == (1, 28, 28)
    assert bundled.spec.notes["test_accuracy"] >= 0.93
    scores = bundled(bundled.normalize(torch.from_numpy(test.images))).mean_logits
    assert (scores.argmax(1).numpy() == test.labels).mean() > 0.88


# The user's own module


MODULE = """
import torch
from torch import nn

def good():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 3))

def five_classes():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 5))

def no_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def no_statistics():
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    return nn.Sequential(norm, nn.Flatten(), nn.Linear(64, 3))

def no_linear():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())

def large_images():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 3))

class Odd(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(64, 3)
        self.answer = answer

    def forward(self, x):
        return self.answer(self, x)

def a_pair():
    return Odd(lambda m, x: (m.head(m.norm(x).flatten(1)), x))

def unused_head():
    return Odd(lambda m, x: m.norm(x).flatten(1)[:, :3])

def unused_norm():
    return Odd(lambda m, x: m.head(x.flatten(1)))

def not_a_module():
    return 3

def pooled(pool=nn.AdaptiveAvgPool2d(1)):
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), pool, nn.Flatten(),
        nn.Linear(2, 3))

def pooled_by_maximum():
    return pooled(nn.AdaptiveMaxPool2d(1))

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)) + x)

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = Residual(), nn.Linear(1, 3)

    def forward(self, x):
        return self.head(self.block(x).mean((2, 3)))

class Unseen(Residual):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 3)

    def forward(self, x):
        return self.head(super().forward(x).mean((2, 3)))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder, which is not on the path."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


SPEC = TeacherSpec("", {}, (1, 8, 8), 3, (0.5,), (0.5,))


def test_a_function_of_the_users_own_gives_scores_and_features(module):
    teacher = load(f"{module}:good", SPEC)
    outputs = teacher(IMAGES)
    assert outputs.logits.shape == (1, 2, 3)
    assert outputs.features.shape == (1, 2, 72)
    head = teacher.network[-1]
    assert torch.equal(head(outputs.features[0]), outputs.logits[0])


@pytest.mark.parametrize("name", ["pooled", "Functional"])
def test_the_mean_of_the_maps_is_what_its_head_reads(module, name):
    """So the mean of a class activation map is the class score without its bias."""
    outputs = load(f"{module}:{name}", SPEC)(IMAGES)
    assert outputs.maps.ndim == 5
    torch.testing.assert_close(outputs.maps.mean((3, 4)), outputs.features)
    scores = torch.einsum("tbchw,kc->tbk", outputs.maps, outputs.head)
    scores = scores / outputs.maps[0, 0, 0].numel()
    bias = outputs.logits - scores
    torch.testing.assert_close(bias, bias[:, :1].expand_as(bias), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["good", "pooled_by_maximum", "Unseen"])
def test_maps_of_which_the_head_reads_no_mean_are_not_shown(module, name):
    assert load(f"{module}:{name}", SPEC)(IMAGES).maps is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_linear", r"result \(64,\) for an image, expected \(3,\)"),
        ("five_classes", r"result \(5,\) for an image, expected \(3,\)"),
        ("large_images", r"does not accept an image of \(1, 8, 8\)"),
        ("unused_head", "no Linear layer that gives class scores"),
        ("not_a_module", "returned int, expected nn.Module"),
        ("no_such_function", "cannot import it"),
    ],
)
def test_a_module_that_cannot_teach_is_refused(module, name, message):
    with pytest.raises(ConfigError, match=message):
        load(f"{module}:{name}", SPEC)


@pytest.mark.parametrize("name", ["no_norm", "no_statistics", "unused_norm"])
def test_statistics_are_missed_only_by_what_reads_them(module, name):
    teacher = load(f"{module}:{name}", SPEC)
    teacher.check_statistics([])
    with pytest.raises(ConfigError, match=r"but batch_norm, tail match them; use a"):
        teacher.check_statistics(["batch_norm", "tail"])
    load(f"{module}:good", SPEC).check_statistics(["tail"])


def test_a_module_needs_a_description_and_must_be_there(module):
    with pytest.raises(ConfigError, match="give input_shape, classes, mean"):
        load(f"{module}:good")
    with pytest.raises(ConfigError, match="cannot import it"):
        load("no_such_module_at_all:good", SPEC)
