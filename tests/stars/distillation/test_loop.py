"""The whole loop on tiny networks: its files, and resuming after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stars.config.models import DistillConfig
from stars.config.presets import merged
from stars.distillation.distiller import Distillation, portion, quantized
from stars.distillation.evaluation import DistillResult
from stars.distillation.loop import distill
from stars.errors import ConfigError, DataError, TrainingError
from stars.files.writing import sha256
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.grid.certificate import certify
from stars.losses import LOSSES
from stars.losses.kl import kl
from stars.networks import student_file
from stars.run_directory import Run
from stars.testing.random_graphs import random_images

TINY = {
    "student": {"options": {"widths": [3, 4], "depths": [1, 1]}, "steps": 2},
    "synthesis": {
        "rounds": 3,
        "steps": 2,
        "batch_size": 12,
        "harvest": 2,
        "latent": 4,
        "width": 4,
        "bank": 60,
    },
    "training": {"steps": 6, "batch_size": 12},
    "grid": {"steps": 2},
    "backend": "norse-eager",  # nothing to compile
    "trouble": "warn",  # after few steps the student is silent
    "seed": 1,
}


def tiny(**changes: object) -> DistillConfig:
    return DistillConfig.model_validate(merged(TINY, changes))


def quiet(stage: str, done: int, total: int, values: dict[str, float]) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def teacher(make_teacher):
    return make_teacher()


@pytest.fixture(scope="module")
def finished(make_teacher, striped, tmp_path_factory) -> tuple[Run, DistillResult]:
    path = tmp_path_factory.mktemp("runs") / "a"
    run = Run.create(path, tiny())
    return run, distill(tiny(), make_teacher(), striped(30), run, quiet)


def same_weights(a: Path, b: Path) -> bool:
    left, right = load_file(a), load_file(b)
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


# Files of a run


def test_a_run_leaves_all_its_files(finished):
    run, result = finished
    left = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert left == {
        "config.toml",
        "manifest.json",
        "metrics.jsonl",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
        "synthetic.png",
        "student.safetensors",
        "student_float.safetensors",
    }
    assert result.seconds > 0
    assert all(0 <= share <= 1 for share in result.accuracies().values())


def test_the_manifest_names_the_teacher_the_students_and_the_accuracies(
    finished, teacher
):
    run, result = finished
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["seed"] == 1
    assert manifest["teacher"]["sha256"] == teacher.checksum()
    assert {k: manifest[k] for k in result.to_json()} == result.to_json()
    for path in (run.student_path, run.float_student_path):
        assert manifest["sha256"][path.name] == sha256(path)


def test_every_round_logs_its_priors_and_its_loss(finished):
    run, _ = finished
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3]
    priors = {"batch_norm", "one_hot", "adversarial", "relational", "tail"}
    assert all(priors | {"kl", "seconds"} <= set(line) for line in lines)


def test_every_round_logs_how_hard_each_prior_pulls(finished):
    run, _ = finished
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    for line in lines:
        lengths = {k: v for k, v in line.items() if k.startswith("gradient/")}
        assert {k.removeprefix("gradient/") for k in lengths} <= line.keys()
        assert len(lengths) == 5
        assert lengths["gradient/batch_norm"] > 0


def test_every_round_logs_what_it_has_cost(finished):
    """Three rounds of 2 steps on 12 images; 6 steps of the student in total."""
    run, _ = finished
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [line["teacher_images"] for line in lines] == [24] * 3
    assert [line["student_steps"] for line in lines] == [2, 4, 6]


def test_steps_that_the_rounds_do_not_divide_are_all_taken():
    assert [portion(7, 3, n) for n in (1, 2, 3)] == [2, 2, 3]
    assert [portion(6, 3, n) for n in (1, 2, 3)] == [2, 2, 2]


def test_the_picture_shows_synthetic_images_that_are_not_one_color(finished):
    run, _ = finished
    picture = np.asarray(Image.open(run.synthetic_path))
    assert picture.shape == (10 * 8, 16 * 8)
    assert picture.std() > 1


def test_what_ships_is_the_file_and_it_is_exact(finished):
    run, result = finished
    assert certify(result.graph).ok
    network, file = student_file.load(run.student_path)
    images = random_images(np.random.default_rng(0), 8, (1, 8, 8))
    inputs = file.encoding.encode(images, file.steps)
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs[0].astype(np.float32))).logits
    readout = reference.run(result.graph, inputs).membranes["readout"]
    assert np.array_equal(logits.double().cumsum(0).numpy(), readout)
    assert result.graph.metadata["seed"] == "1"


def test_without_test_images_nothing_is_measured(teacher, tmp_path):
    config = tiny(synthesis={"rounds": 1}, grid={"steps": 0})
    run = Run.create(tmp_path / "a", config)
    result = distill(config, teacher, None, run, quiet)
    assert set(result.accuracies().values()) == {None}
    assert certify(result.graph).ok


# Killed and resumed


class KilledError(Exception):
    """An error that the loop does not expect."""


@pytest.mark.parametrize(
    ("stage", "number"), [("distill", 1), ("distill", 3), ("grid", 1)]
)
def test_a_run_that_was_killed_ends_bit_for_bit_as_one_that_was_not(
    finished, teacher, striped, tmp_path, stage, number
):
    def kill(*now: object) -> None:
        if now[:2] == (stage, number):
            raise KilledError

    run = Run.create(tmp_path / "a", tiny())
    with pytest.raises(KilledError):
        distill(tiny(), teacher, striped(30), run, kill)
    torch.rand(7)  # another process has another random state
    run = Run.create(tmp_path / "a", tiny(), resume=True)
    result = distill(tiny(), teacher, striped(30), run, quiet)
    whole, expected = finished
    assert same_weights(run.student_path, whole.student_path)
    assert same_weights(run.float_student_path, whole.float_student_path)
    assert result.graph == expected.graph
    assert result.accuracies() == expected.accuracies()
    assert run.synthetic_path.read_bytes() == whole.synthetic_path.read_bytes()
    rounds = [json.loads(x)["round"] for x in run.metrics_path.read_text().splitlines()]
    assert rounds == [1, 2, 3]


def test_a_run_killed_while_it_writes_a_checkpoint_does_the_round_again(
    finished, teacher, tmp_path, monkeypatch
):
    run = Run.create(tmp_path / "a", tiny())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", mock.Mock(side_effect=KilledError))
        with pytest.raises(KilledError):
            distill(tiny(), teacher, None, run, quiet)
    run = Run.create(tmp_path / "a", tiny(), resume=True)
    distill(tiny(), teacher, None, run, quiet)
    assert same_weights(run.student_path, finished[0].student_path)
    assert len(run.metrics_path.read_text().splitlines()) == 3


def test_a_run_does_not_go_on_with_another_teacher(teacher, make_teacher, tmp_path):
    run = Run.create(tmp_path / "a", tiny())

    def kill(*_: object) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        distill(tiny(), teacher, None, run, kill)
    other = make_teacher()
    other.network.state_dict()["layers.head.bias"][0] += 1
    with pytest.raises(ConfigError, match="made with another teacher than"):
        distill(tiny(), other, None, run, quiet)
    assert run.checkpoint_path.is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns
def test_compiled_it_makes_the_same_student_twice_bit_for_bit(teacher, tmp_path):
    runs = []
    for name in ("a", "b"):
        config = tiny(backend="fused")
        runs.append(Run.create(tmp_path / name, config))
        distill(config, teacher, None, runs[-1], quiet)
    a, b = runs
    assert same_weights(a.float_student_path, b.float_student_path)
    assert same_weights(a.student_path, b.student_path)


def test_another_seed_is_another_student(finished, teacher, tmp_path):
    run = Run.create(tmp_path / "a", tiny(seed=2))
    distill(tiny(seed=2), teacher, None, run, quiet)
    assert not same_weights(run.student_path, finished[0].student_path)


# Errors


def test_a_synthesis_that_is_not_finite_stops_the_run(teacher, tmp_path, monkeypatch):
    blank = torch.full((4, 1, 8, 8), torch.nan)
    config = tiny()
    run = Run.create(tmp_path / "a", config)
    monkeypatch.setattr(
        "stars.synthesis.forgetful.ForgetfulGenerator.round",
        mock.Mock(return_value=(blank, {"batch_norm": 1.0})),
    )
    with pytest.raises(TrainingError, match="synthesis of round 1 is not finite"):
        distill(config, teacher, None, run, quiet)
    assert not run.path.exists()


def test_weights_that_are_not_finite_stop_the_run(teacher, tmp_path):
    config = tiny(training={"learning_rate": 1e30, "steps": 30})
    run = Run.create(tmp_path / "a", config)
    with pytest.raises(TrainingError, match=r"weights are .*training\.learning_rate"):
        distill(config, teacher, None, run, quiet)


def test_a_loss_that_is_not_finite_stops_the_run(teacher, tmp_path, monkeypatch):
    def infinite(student, teacher):
        return kl(student, teacher) * np.inf

    monkeypatch.setitem(LOSSES, "kl", infinite)
    run = Run.create(tmp_path / "a", tiny())
    with pytest.raises(TrainingError, match=r"loss became .*training\.learning_rate"):
        distill(tiny(), teacher, None, run, quiet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"steps": 2}}, "training.steps is 2, expected at least .* 3"),
        ({"synthesis": {"method": "magic"}}, "'magic' is unknown; there are .'cmi'"),
        ({"loss": [{"name": "l3"}]}, "loss 'l3' is unknown; there are .'ce', 'deco"),
        ({"loss": [{"name": "feature_map"}]}, "4 features, the teacher 6; use match"),
        ({"loss": [{"name": "samd"}]}, "'samd'. alone does not train .*; add"),
        ({"loss": [{"name": "no_module:f"}]}, "loss 'no_module:f': cannot import it"),
        ({"prior": []}, "no prior has a weight above 0"),
        ({"prior": [{"name": "tail", "soft": 1}]}, "'tail' has no option .'soft'."),
        ({"prior": [{"name": "tail", "softness": -1.0}]}, "softness -1.0 must be > 0"),
        ({"loss": [{"name": "kl", "temperature": 0.0}]}, "temperature is 0.0; it must"),
        ({"student": {"architecture": "mlp"}}, "architecture 'mlp' is unknown"),
        ({"student": {"options": {"widths": [4], "depths": [1, 1]}}}, "of one length"),
        ({"student": {"surrogate": "ramp"}}, "surrogate 'ramp' is unknown"),
        (
            {"device": "abacus"},
            "device 'abacus' is not available; this machine has .'cpu'",
        ),
    ],
)
def test_a_configuration_that_cannot_be_leaves_no_directory(
    teacher, tmp_path, changes, message
):
    config = tiny(**changes)
    run = Run.create(tmp_path / "a", config)
    with pytest.raises(ConfigError, match=message):
        distill(config, teacher, None, run, quiet)
    assert not run.path.exists()


def test_test_images_that_the_teacher_cannot_name_are_refused(
    teacher, striped, tmp_path
):
    wrong_shape, wrong_label = striped(6, channels=3), striped(6)
    wrong_label.labels[0] = 3
    for test, message in ((wrong_shape, "have shape"), (wrong_label, "go up to 3")):
        run = Run.create(tmp_path / "a", tiny())
        with pytest.raises(DataError, match=message):
            distill(tiny(), teacher, test, run, quiet)
        assert not run.path.exists()


# Losses

TRAINED_BY: list[dict[str, object]] = [
    *({"name": name} for name in LOSSES if name not in ("feature_map", "layerwise")),
    {"name": "feature_map", "match": "relation"},
    {"name": "hta_kl", "per_step": True, "masked": True},
    {"name": "nld", "form": "paper"},
    {"name": "samd", "form": "paper"},
]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("loss", TRAINED_BY, ids=str)
def test_a_student_learns_by_every_loss_in_both_precisions_and_on_the_grid(
    teacher, tmp_path, loss, bf16
):
    config = tiny(
        loss=[loss] if loss["name"] == "kl" else [{"name": "kl"}, loss],
        synthesis={"rounds": 1},
        training={"bf16": bf16},
        student={"options": {"widths": [3, 5], "depths": [1, 1], "stem_stride": 2}},
    )
    run = Run.create(tmp_path / "a", config)
    result = distill(config, teacher, None, run, quiet)
    (line,) = run.metrics_path.read_text().splitlines()
    assert np.isfinite(json.loads(line)[loss["name"]])
    network, _ = student_file.load(run.student_path)
    assert all(bool(p.isfinite().all()) for p in network.parameters())
    assert certify(result.graph).ok


def test_trying_the_losses_first_changes_nothing(teacher, monkeypatch):
    tried = Distillation(tiny(), teacher)
    monkeypatch.setattr(Distillation, "try_losses", lambda _: None)
    untried = Distillation(tiny(), teacher)
    assert tried.round(1) == untried.round(1)
    for name, value in untried.student.state_dict().items():
        assert torch.equal(value, tried.student.state_dict()[name])


# A student that starts from its teacher

STARTED = {
    "student": {
        "architecture": "teacher",
        "start": "teacher",
        "options": {"widths": [4, 6], "depths": [1, 1]},
    },
    "loss": [{"name": "kl"}, {"name": "layerwise", "weight": 0.3}],
}


@pytest.fixture(scope="module")
def begun(make_teacher, tmp_path_factory) -> tuple[Run, DistillResult]:
    run = Run.create(tmp_path_factory.mktemp("runs") / "a", tiny(**STARTED))
    return run, distill(tiny(**STARTED), make_teacher(), None, run, quiet)


def test_a_student_that_starts_from_its_teacher_has_its_architecture(begun, teacher):
    run, result = begun
    _, file = student_file.load(run.student_path)
    assert (file.architecture, file.options) == ("resnet", teacher.spec.options)
    assert certify(result.graph).ok
    (*_, line) = run.metrics_path.read_text().splitlines()
    assert np.isfinite(json.loads(line)["layerwise"])


def test_it_starts_after_the_first_images_and_only_then(teacher):
    distillation = Distillation(tiny(**STARTED), teacher)
    assert distillation.scales is None
    with mock.patch.object(Distillation, "start", autospec=True) as start:
        for number in (1, 2):
            distillation.round(number)
    assert start.call_count == 1


@pytest.mark.parametrize(("stage", "number"), [("distill", 1), ("distill", 2)])
def test_a_started_run_that_was_killed_ends_bit_for_bit_as_one_that_was_not(
    begun, teacher, tmp_path, stage, number
):
    def kill(*now: object) -> None:
        if now[:2] == (stage, number):
            raise KilledError

    run = Run.create(tmp_path / "a", tiny(**STARTED))
    with pytest.raises(KilledError):
        distill(tiny(**STARTED), teacher, None, run, kill)
    run = Run.create(tmp_path / "a", tiny(**STARTED), resume=True)
    result = distill(tiny(**STARTED), teacher, None, run, quiet)
    whole, expected = begun
    assert same_weights(run.student_path, whole.student_path)
    assert same_weights(run.float_student_path, whole.float_student_path)
    assert result.graph == expected.graph


def test_only_a_run_with_a_loss_that_reads_layers_keeps_them(teacher):
    for config, kept in ((tiny(), False), (tiny(**STARTED), True)):
        distillation = Distillation(config, teacher)
        assert distillation.layers == kept
        assert distillation.see(torch.zeros(2, 1, 8, 8)).activations is None


def test_a_start_without_the_teachers_architecture_leaves_no_directory(
    teacher, tmp_path
):
    config = tiny(student={"start": "teacher"})
    run = Run.create(tmp_path / "a", config)
    with pytest.raises(ConfigError, match="both must have one architecture"):
        distill(config, teacher, None, run, quiet)
    assert not run.path.exists()


# Real images, for comparison


@pytest.fixture(scope="module")
def learned(make_teacher, striped, tmp_path_factory) -> tuple[Run, DistillResult]:
    """A run that learned from real images."""
    config = tiny(data="striped")
    run = Run.create(tmp_path_factory.mktemp("runs") / "a", config)
    real = striped(90, seed=1)
    return run, distill(config, make_teacher(), striped(30), run, quiet, real)


def test_with_real_images_none_are_invented(learned, striped):
    run, result = learned
    assert not run.synthetic_path.exists()
    lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [set(line) for line in lines] == [
        {"round", "seconds", "kl", "student_steps"}
    ] * 3
    manifest = json.loads(run.manifest_path.read_text())
    expected = {"source": "striped", "sha256": striped(90, seed=1).checksum()}
    assert manifest["data"] == expected
    assert result.graph.metadata["data"] == "striped"
    assert certify(result.graph).ok


def test_a_data_free_run_says_so(finished):
    run, result = finished
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["data"] == {"source": "", "sha256": None}
    assert "data" not in result.graph.metadata


def test_the_batches_are_of_the_real_images(teacher, striped):
    images = striped(90, seed=1)
    plain = {"flip": False, "crop": 0, "mixup": 0.0, "steps": 6, "batch_size": 12}
    distillation = Distillation(tiny(training=plain, data="x"), teacher, images)
    batch, labels = distillation.batch(np.random.default_rng(0))
    known = teacher.normalize(torch.from_numpy(images.images))
    same = [(known == image).flatten(1).all(1).nonzero()[0, 0] for image in batch]
    assert labels.argmax(1).tolist() == images.labels[same].tolist()
    assert labels.sum(1).tolist() == [1.0] * 12


def test_labels_are_mixed_as_their_images_are(teacher, striped):
    """Images of one gray for each class, so pixels and labels agree."""
    images = striped(30)
    images.images[:] = (images.labels * 100)[:, None, None, None]
    plain = {"flip": False, "crop": 0, "mixup": 1.0, "steps": 6, "batch_size": 12}
    distillation = Distillation(tiny(training=plain, data="x"), teacher, images)
    batch, labels = distillation.batch(np.random.default_rng(0))
    gray = (batch[:, 0, 0, 0] * 0.3 + 0.45) * 255 / 100
    expected = labels @ torch.arange(3.0)
    torch.testing.assert_close(gray, expected, atol=1e-4, rtol=1e-4)
    assert 0.01 < float(labels.max(1).values.min()) < 0.99


def test_a_student_can_learn_from_labels_alone(teacher, striped, tmp_path):
    loss = [{"name": "ce", "labels": True}]
    config = tiny(loss=loss, data="striped")
    run = Run.create(tmp_path / "a", config)
    distill(config, teacher, None, run, quiet, striped(90, seed=1))
    (*_, line) = run.metrics_path.read_text().splitlines()
    assert np.isfinite(json.loads(line)["ce"])
    config = tiny(loss=loss)
    run = Run.create(tmp_path / "b", config)
    with pytest.raises(ConfigError, match="synthetic images have no labels"):
        distill(config, teacher, None, run, quiet)


def test_a_prior_that_reads_membranes_gets_them(teacher, tmp_path):
    config = tiny(prior=[{"name": "membrane_tail"}, {"name": "batch_norm"}])
    run = Run.create(tmp_path / "a", config)
    distill(config, teacher, None, run, quiet)
    (*_, line) = run.metrics_path.read_text().splitlines()
    assert json.loads(line)["gradient/membrane_tail"] > 0


def test_a_killed_run_with_real_images_ends_as_one_that_was_not(
    learned, teacher, striped, tmp_path
):
    def kill(*now: object) -> None:
        if now[:2] == ("distill", 2):
            raise KilledError

    config, real = tiny(data="striped"), striped(90, seed=1)
    run = Run.create(tmp_path / "a", config)
    with pytest.raises(KilledError):
        distill(config, teacher, None, run, kill, real)
    run = Run.create(tmp_path / "a", config, resume=True)
    with pytest.raises(ConfigError, match="made with other training images"):
        distill(config, teacher, None, run, quiet, striped(90, seed=2))
    distill(config, teacher, None, run, quiet, real)
    assert same_weights(run.student_path, learned[0].student_path)


def test_real_images_that_cannot_be_learned_from_are_refused(
    teacher, striped, tmp_path
):
    config, test = tiny(data="striped"), striped(30)
    for real, message in (
        (striped(6, channels=3), "training images have shape"),
        (test, "the test images are among the training images 'striped'"),
    ):
        run = Run.create(tmp_path / "a", config)
        with pytest.raises(DataError, match=message):
            distill(config, teacher, test, run, quiet, real)
        assert not run.path.exists()


# Parts


def test_training_rounds_images_as_the_encoding_does():
    """Every level of every channel, with torch in float32."""
    encoding = DirectEncoding((0.3, 0.5), (0.2, 0.4))
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None, None], 2, 1)
    x = torch.from_numpy(pixels).float() / 255
    x = (x - torch.tensor([0.3, 0.5])[:, None, None]) / torch.tensor([0.2, 0.4])[
        :, None, None
    ]
    x.requires_grad_()
    rounded = quantized(x, encoding)
    expected = encoding.encode(pixels, 1)[0]
    assert np.array_equal(rounded.detach().numpy(), expected)
    rounded.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_synthesis_moves_neither_the_students_weights_nor_its_statistics(teacher):
    distillation = Distillation(tiny(), teacher)
    student = distillation.student
    before = {k: v.clone() for k, v in student.state_dict().items()}
    student.eval().requires_grad_(requires_grad=False)
    distillation.synthesizer.round(distillation.see)
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_what_ships_is_exact_too(make_teacher, striped, tmp_path):
    config = tiny(device="cuda")
    run = Run.create(tmp_path / "a", config)
    result = distill(config, make_teacher(), striped(30), run, quiet)
    assert certify(result.graph).ok
    assert result.grid_accuracy is not None
