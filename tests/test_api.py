"""The Python API: what a researcher types, on tiny settings, from teacher to energy."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import export
import stars
import targets
from stars.errors import ConfigError, FormatError
from stars.losses.kl import kl
from stars.synthesis import METHODS
from stars.synthesis.deepinversion import DeepInversion
from stars.testing import random_graph, random_images, random_inputs

TINY = """
trouble = "warn"
backend = "norse-eager"

[student]
steps = 2
options = { widths = [3, 4], depths = [1, 1] }

[synthesis]
rounds = 2
steps = 2
batch_size = 12
harvest = 2
latent = 4
width = 4
bank = 60
bf16 = false

[training]
steps = 4
batch_size = 12
learning_rate = 0.001
bf16 = false

[grid]
steps = 2
"""


class OwnTeacher(nn.Module):
    """A network of the user, which says itself what must be known of it."""

    input_shape = (1, 8, 8)
    classes = 3
    mean = (0.45,)
    deviation = (0.3,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(images).mean((2, 3)))
        return scores


def own_loss(student, teacher, *, scale: float = 1.0):
    """A loss of the user."""
    return scale * kl(student, teacher)


def own_prior(state):
    """A prior of the user."""
    return state.images.square().mean()


class OwnMethod(DeepInversion):
    """A method of the user."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def student(tiny: Path) -> stars.DistilledStudent:
    file, rng = tiny.with_name("test.npz"), np.random.default_rng(0)
    images, labels = random_images(rng, 30, (1, 8, 8)), np.arange(30) % 3
    np.savez(file, images=images, labels=labels)
    return stars.distill(OwnTeacher(), config=tiny, test_data=str(file))


def test_from_a_module_to_energy_in_a_few_lines(student, tmp_path, striped, capsys):
    images = striped(6).images
    assert student.certificate.ok
    assert 0 <= student.accuracy <= 1
    assert student.accuracies["teacher"] is not None
    assert student.images.dtype == np.uint8
    assert student.images.shape[1:] == (1, 8, 8)
    assert "certificate: spikes and membranes exact" in str(student)

    file = tmp_path / "student.nir"
    export.write(student.graph, file)
    assert export.read(file) == student.graph
    report = targets.parity(file, images, on=["norse", "onnx", "loihi"])
    assert report.ok
    assert {t.name for t in report.targets} == {"norse", "onnx", "loihi"}
    estimate = targets.energy(file, images)
    assert estimate.counts.images == 6
    assert capsys.readouterr().out == ""  # the library prints nothing


def test_all_subjects_give_the_same_report(student, striped, tmp_path):
    images = striped(4).images
    export.write(student.graph, tmp_path / "student.nir")
    np.save(tmp_path / "images.npy", images)
    found = [
        targets.energy(subject, given)
        for subject in (student.graph, tmp_path / "student.nir")
        for given in (images, tmp_path / "images.npy")
    ]
    assert len({e.model_dump_json(exclude={"origin"}) for e in found}) == 1
    assert len({e.origin.inputs_sha256 for e in found}) == 1
    report = targets.parity(student, count=5, on=["loihi"])
    assert report.ok
    assert report.images == 5
    assert (student.path / "parity.json").is_file()


def test_a_temporary_run_lives_as_long_as_its_student(tiny):
    student = stars.distill(OwnTeacher(), config=tiny)
    path = student.path
    assert path.is_dir()
    del student
    gc.collect()
    assert not path.exists()


def test_own_losses_priors_and_methods_are_arguments(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "own_things", sys.modules[__name__])
    for thing in (own_loss, own_prior, OwnMethod):
        monkeypatch.setattr(thing, "__module__", "own_things")
    seen: list[str] = []
    found = stars.distill(
        OwnTeacher(),
        config=tiny,
        out=tmp_path / "run",
        losses=[own_loss, {"name": "ce", "weight": 0.5}, "nld:temperature=3"],
        priors=[own_prior],
        method=OwnMethod,
        seed=3,
        progress=lambda stage, *_: seen.append(stage),
    )
    config = found.run.read_config()
    assert [row["name"] for row in config["loss"]] == [
        "own_things:own_loss",
        "ce",
        "nld",
    ]
    assert config["prior"][-1]["name"] == "own_things:own_prior"
    assert config["synthesis"]["method"] == "own_things:OwnMethod"
    assert config["seed"] == 3
    assert set(seen) == {"distill", "grid"}
    assert stars.DistilledStudent.open(tmp_path / "run").graph == found.graph


def test_a_killed_run_is_told_and_resumed(tiny, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        stars.distill(OwnTeacher(), config=tiny, out=out, progress=stop)
    with pytest.raises(FormatError, match=r"has not ended.*resume=True"):
        stars.DistilledStudent.open(out)
    resumed = stars.distill(OwnTeacher(), config=tiny, out=out, resume=True)
    whole = stars.distill(OwnTeacher(), config=tiny)
    assert resumed.graph == whole.graph


def test_what_cannot_be_imported_again_is_refused(tiny):
    with pytest.raises(ConfigError, match="cannot be imported by its name"):
        stars.distill(OwnTeacher(), config=tiny, losses=[lambda s, _: s.logits.mean()])
    with pytest.raises(ConfigError, match="expected a name, a mapping"):
        stars.distill(OwnTeacher(), config=tiny, losses=[3])
    with pytest.raises(ConfigError, match="is unknown; there are"):
        stars.distill(OwnTeacher(), config=tiny, method="nope")
    assert "nope" not in METHODS


def test_a_module_that_does_not_describe_itself_is_told_what_it_lacks(tiny):
    network = OwnTeacher()
    bare = nn.Sequential(network.body, nn.Flatten(), network.head)
    with pytest.raises(ConfigError, match="lacks the attributes input_shape, classes"):
        stars.distill(bare, config=tiny)


def test_another_ending_is_refused_with_those_that_there_are(student, tmp_path):
    with pytest.raises(ConfigError, match=r"allowed are \.nir, \.onnx, or none"):
        export.write(student.graph, tmp_path / "student.h5")
    assert not (tmp_path / "student.h5").exists()
    export.write(student.graph, tmp_path / "bundle")
    assert (tmp_path / "bundle/plain_lava.py").is_file()
    export.write(student.graph, tmp_path / "student.onnx", form="step")
    assert (tmp_path / "student.onnx").is_file()


@pytest.mark.parametrize("module", [stars, export, targets])
def test_every_public_name_is_there_and_explained(module):
    for name in module.__all__:
        assert getattr(module, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", stars.__version__)


def test_no_warning_of_a_dependency_leaks():
    script = "import stars; stars.distill; stars.certify; from targets import table;"
    script += " table.load('norse'); import targets.simulators.norse_network"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_star_import_gives_the_api():
    names: dict[str, object] = {}
    exec("from stars import *", names)
    assert set(stars.__all__) <= set(names)


@pytest.mark.parametrize("value", [0.3, 2.0, -1.0])
def test_a_certificate_is_withdrawn_for_inputs_that_are_no_spikes(value):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    spikes = random_inputs(np.random.default_rng(1), graph, 4)
    assert targets.parity(graph, spikes, on=["loihi"]).input_violation is None
    other = np.where(spikes, value, 0.0)
    report = targets.parity(graph, other, on=["norse"])
    assert "the certificate does not hold for these inputs" in report.warnings[0]
    assert f"such as {value}" in report.input_violation
    assert "certificate does not hold" in str(report)
    (warning, *_) = targets.energy(graph, other).warnings
    assert "are not spikes" in warning


def test_a_graded_input_is_what_the_certificate_of_its_encoding_assumes():
    graph = random_graph(np.random.default_rng(0), kind="conv")
    inputs = random_inputs(np.random.default_rng(1), graph, 2)
    assert targets.parity(graph, inputs, on=["loihi"]).input_violation is None
    report = targets.parity(graph, inputs / 2, on=["norse"])
    assert "multiples of 2^" in report.input_violation
    assert targets.energy(graph, inputs).warnings == ()
