"""Teacher training: it learns, and it resumes after a kill."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stars import teacher as teachers
from stars.config.models import TeacherTrainingConfig
from stars.data.images import LabeledImages
from stars.errors import ConfigError, DataError, TrainingError
from stars.run_directory import Run
from stars.teacher import training as teacher_training

CONFIG = TeacherTrainingConfig(
    options={"widths": [4, 8], "depths": [1, 1]},
    epochs=4,
    batch_size=15,
    flip=False,
    crop=0,
    seed=2,
)


class KilledError(Exception):
    """An error that the loop does not expect."""


def quiet(*_: object) -> None:
    """Show no progress."""


def trained(path, striped, config=CONFIG, progress=quiet, *, resume=False):
    run = Run.create(path, config, resume=resume)
    data, test = striped(90), striped(45, seed=1)
    return run, teacher_training.train(config, data, test, run, progress)


@pytest.fixture(scope="module")
def finished(striped, tmp_path_factory, one_thread):  # noqa: ARG001
    return trained(tmp_path_factory.mktemp("runs") / "a", striped)


def test_it_learns_and_tells_the_accuracy_of_the_last_epoch(finished):
    run, result = finished
    assert result.test_accuracy > 0.9
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["test_accuracy"] == result.test_accuracy
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_the_seconds_are_those_that_passed(striped, tmp_path, monkeypatch):
    def slow(*_: object) -> float:
        time.sleep(0.4)
        return 1.0

    monkeypatch.setattr(teacher_training, "epoch_loss", slow)
    config = CONFIG.model_copy(update={"epochs": 1})
    _, result = trained(tmp_path / "a", striped, config)
    assert result.seconds == pytest.approx(0.5, abs=0.2)


def test_the_file_is_a_teacher_that_describes_itself(finished, striped):
    _, result = finished
    teacher = teachers.load(str(result.path))
    assert teacher.spec.classes == 3
    assert teacher.spec.notes["test_accuracy"] == result.test_accuracy
    assert teacher.spec.notes["epochs"] == 4
    assert teacher.spec.accuracy == result.test_accuracy
    assert {"data", "class_names", "flip"} <= teacher.spec.notes.keys()
    mean, deviation = striped(90).statistics()
    assert (teacher.spec.mean, teacher.spec.deviation) == (mean, deviation)
    test = striped(45, seed=1)
    named = teacher(teacher.normalize(torch.from_numpy(test.images)))
    right = named.mean_logits.argmax(1).numpy() == test.labels
    assert right.mean() == result.test_accuracy


def test_the_manifest_has_the_accuracy_and_all_checksums(finished, striped):
    run, result = finished
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["test_accuracy"] == result.test_accuracy
    assert manifest["data"]["sha256"] == striped(90).checksum()
    assert manifest["test_data"]["sha256"] == striped(45, seed=1).checksum()
    digest = hashlib.sha256(result.path.read_bytes()).hexdigest()
    assert manifest["sha256"] == {"teacher.safetensors": digest}
    loaded = teachers.load(str(result.path))
    assert manifest["teacher"]["sha256"] == loaded.checksum()


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_training_that_was_killed_ends_bit_for_bit_as_one_that_was_not(
    finished, striped, tmp_path, epoch
):
    def kill(_: str, done: int, *__: object) -> None:
        if done == epoch:
            raise KilledError

    with pytest.raises(KilledError):
        trained(tmp_path / "a", striped, progress=kill)
    torch.rand(7)
    run, result = trained(tmp_path / "a", striped, resume=True)
    whole, expected = finished
    left, right = load_file(result.path), load_file(expected.path)
    assert all(torch.equal(left[name], right[name]) for name in right)
    assert result.test_accuracy == expected.test_accuracy
    assert len(run.metrics_path.read_text().splitlines()) == 4
    assert whole.path != run.path


def test_a_loss_that_is_not_finite_stops_it_and_leaves_nothing(striped, tmp_path):
    config = CONFIG.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(TrainingError, match=r"the loss became .*; lower learning_rate"):
        trained(tmp_path / "a", striped, config)
    assert not (tmp_path / "a").exists()


def relabeled(data: LabeledImages, label: int) -> LabeledImages:
    return replace(data, labels=np.full(len(data), label))


def test_data_that_cannot_teach_is_refused_and_leaves_nothing(striped, tmp_path):
    data, test = striped(90), striped(45, seed=1)
    cases = [
        (data, striped(45, channels=3), "training images have shape"),
        (data, data, "the test images are the training images"),
        (data, relabeled(test, 3), "test labels go up to 3, training labels up to 2"),
        (data.first(14), test, "14 training images do not fill one batch of 15"),
    ]
    for training, testing, message in cases:
        run = Run.create(tmp_path / "a", CONFIG)
        with pytest.raises(DataError, match=message):
            teacher_training.train(CONFIG, training, testing, run, quiet)
        assert not run.path.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mlp"}, "architecture 'mlp' is unknown"),
        ({"options": {"width": 3}}, "has no option"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_leaves_nothing(
    striped, tmp_path, changes, message
):
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path / "a", striped, CONFIG.model_copy(update=changes))
    assert not (tmp_path / "a").exists()
