"""`stars distill`, `stars teacher train`: results, exit codes, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import struct
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from cli.main import main
from export.from_nir import read
from stars.data.images import TORCHVISION
from stars.distillation.distiller import Distillation
from stars.run_directory import Run
from stars.teacher.loading import load, save

ROOT = Path(__file__).parents[2]
TINY = """
test_data = "{data}"
trouble = "warn"

[teacher]
source = "{teacher}"

[student]
steps = 2
options = {{ widths = [3, 4], depths = [1, 1] }}

[synthesis]
rounds = 2
steps = 2
batch_size = 12
harvest = 2
latent = 4
width = 4
bank = 60

[training]
steps = 4
batch_size = 12

[grid]
steps = 2
"""
DESCRIPTION = """
architecture = "resnet"
options = { widths = [4, 6], depths = [1, 1] }
input_shape = [1, 8, 8]
classes = 3
mean = [0.45]
deviation = [0.3]
"""


@pytest.fixture
def folder(make_teacher, striped, tmp_path: Path, monkeypatch) -> Path:
    """The current folder: a teacher, test images, and a configuration of both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STARS_BACKEND", "norse-eager")  # nothing to compile
    save(make_teacher(), tmp_path / "teacher.safetensors")
    test = striped(30)
    np.savez(tmp_path / "test.npz", images=test.images, labels=test.labels)
    (tmp_path / "tiny.toml").write_text(
        TINY.format(data="test.npz", teacher="teacher.safetensors")
    )
    return tmp_path


def distill(*arguments: object) -> int:
    base = ["distill", "--config", "tiny.toml", "--out", "run"]
    return main([*base, *map(str, arguments)])


def refused(capsys, code: int, message: str) -> None:
    """One clear error on stderr, no data, and no directory."""
    streams = capsys.readouterr()
    assert streams.out == ""
    errors = [x for x in streams.err.splitlines() if x.startswith("error: ")]
    assert len(errors) == 1, streams.err
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert "unexpected" not in streams.err
    assert code == 2
    assert not Path("run").exists()


@pytest.mark.usefixtures("folder")
def test_it_leaves_a_run_that_ships_and_tells_the_accuracies(capsys):
    assert distill("--json", "--seed", 5) == 0
    streams = capsys.readouterr()
    found = json.loads(streams.out)
    assert found["schema"] == "stars.distill/1"
    assert found["run"] == "run"
    for name in ("teacher", "student", "grid"):
        assert 0 <= found[f"{name}_accuracy"] <= 1
    assert found["seconds"] >= 0
    graph = read(Path("run/artifacts/student.nir"))
    assert graph.steps == 2
    assert graph.metadata["seed"] == "5"
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert "artifacts/student.nir" in manifest["sha256"]
    assert manifest["seed"] == 5


@pytest.mark.usefixtures("folder")
def test_losses_on_the_command_line_replace_those_of_the_file():
    with Path("tiny.toml").open("a") as file:
        file.write("[[loss]]\nname = 'rkd'\n")
    assert distill("--loss", "hta_kl:weight=1,temperature=3,masked=true") == 0
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["loss"] == [
        {"name": "hta_kl", "weight": 1.0, "temperature": 3, "masked": True}
    ]
    (*_, last) = Path("run/metrics.jsonl").read_text().splitlines()
    assert "hta_kl" in json.loads(last)
    assert "rkd" not in json.loads(last)


def test_it_learns_from_real_images_where_there_are_any(folder, striped, capsys):
    real = striped(60, seed=1)
    np.savez(folder / "data.npz", x_train=real.images, y_train=real.labels)
    assert distill("--data", "data.npz", "--json") == 0
    assert json.loads(capsys.readouterr().out)["grid_accuracy"] > 0
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["data"] == {"source": "data.npz", "sha256": real.checksum()}
    assert not Path("run/synthetic.png").exists()


@pytest.mark.usefixtures("folder")
def test_the_recipe_for_a_loss_of_your_own_works():
    """The module, the command and the file of docs/guides/loss.md."""
    recipe = (ROOT / "docs" / "guides" / "loss.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL))
    Path("my_losses.py").write_text(blocks["python"])
    program, *arguments = shlex.split(blocks["sh"])
    assert program == "stars"
    assert main([*arguments, "--config", "tiny.toml"]) == 0
    with Path("tiny.toml").open("a") as file:
        file.write(blocks["toml"])
    assert distill() == 0
    metrics = [Path(run, "metrics.jsonl") for run in ("runs/mine", "run")]
    for path in metrics:
        (*_, last) = path.read_text().splitlines()
        assert {"kl", "my_losses:margin"} <= json.loads(last).keys()
    ours, theirs = (p.with_name("student.safetensors").read_bytes() for p in metrics)
    assert ours == theirs


@pytest.mark.usefixtures("folder")
def test_without_test_images_it_says_that_nothing_was_measured(capsys):
    assert distill("--test-data", "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["grid_accuracy"] is None


@pytest.mark.usefixtures("folder")
def test_a_run_is_not_made_twice_and_can_be_resumed(capsys):
    assert distill() == 0
    capsys.readouterr()
    before = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    assert distill() == 2
    assert "already holds a run; give another --out" in capsys.readouterr().err
    after = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    assert after == before
    assert distill("--resume", "--json") == 0
    assert (
        Path("run/student.safetensors").read_bytes()
        == before[Path("run/student.safetensors")]
    )
    capsys.readouterr()
    assert distill("--resume", "--seed", 8) == 2
    assert "made with another configuration" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_round_and_the_second_one_does_not_wait(
    monkeypatch, capsys, times
):
    learn, presses = Distillation.learn, iter(range(times))

    def interrupted(self, *arguments, **options):
        for _ in presses:  # all of them in the first step
            signal.raise_signal(signal.SIGINT)
        return learn(self, *arguments, **options)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "learn", interrupted)
        assert distill() == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "stopping after this round; --resume goes on" in capsys.readouterr().err
    checkpoint = Run(Path("run")).load_checkpoint()
    assert (checkpoint is None) == (times == 2)
    assert checkpoint is None or checkpoint["round"] == 1
    assert distill("--resume") == 0
    assert main(["distill", "--config", "tiny.toml", "--out", "whole"]) == 0
    for name in ("student.safetensors", "artifacts/student.nir"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a small file system here: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("pages", "file", "flags"),  # a checkpoint has 13 pages
    [
        (0, "config.toml", []),
        (1, "manifest.json", []),
        (2, "metrics.jsonl", []),
        (3, "synthetic.png", []),
        (10, "checkpoints/last.pt", []),
        (25, "checkpoints/last.pt", ["--resume"]),
        (30, "student_float.safetensors", ["--resume"]),
    ],
)
def test_a_full_disk_is_one_clear_error_and_the_run_can_be_made(
    small_disk, capsys, pages, file, flags
):
    assert distill() == 0
    room = os.statvfs(small_disk)
    fill = small_disk / "other"
    fill.write_bytes(bytes((room.f_bavail - pages) * room.f_bsize))
    capsys.readouterr()
    out = small_disk / "run"
    assert distill("--out", out) == 2
    told = capsys.readouterr().err
    assert re.search(rf"error: cannot write '{out / file}': .*No space left", told)
    assert out.exists() == bool(flags)
    fill.unlink()
    assert distill("--out", out, *flags) == 0
    for name in ("student.safetensors", "artifacts/student.nir"):
        assert (out / name).read_bytes() == Path("run", name).read_bytes()


def test_a_folder_of_something_else_is_left_alone(folder, capsys):
    (folder / "run").mkdir()
    (folder / "run" / "thesis.tex").write_text("x")
    assert distill() == 2
    assert "exists and is not a run" in capsys.readouterr().err
    assert [p.name for p in (folder / "run").iterdir()] == ["thesis.tex"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "gone.safetensors"], "'gone.safetensors': no such file"),
        (["--teacher", "gone.pt"], "'gone.pt': no such file"),
        (["--teacher", "own_module_that_is_gone:make"], "cannot import it"),
        (["--teacher", "resnet"], "allowed are 'fashion-mnist'"),
        (["--teacher", "test.npz"], "allowed are 'fashion-mnist'"),
        (["--steps", "0"], "student.steps: input should be greater than or equal to 1"),
        (["--steps", "-3"], "found -3"),
        (["--seed", "-1"], "seed: "),
        (["--preset", "fast"], "preset 'fast' is unknown"),
        (["--backend", "gpu"], "backend: "),
        (["--device", "abacus"], "device 'abacus' is not available"),
        (["--test-data", "gone.npz"], "'gone.npz': no such file"),
        (["--test-data", "fashion-mnist"], "(1, 28, 28), the teacher takes (1, 8, 8)"),
        (["--config", "gone.toml"], "config 'gone.toml': No such file"),
        (["--resume"], "holds no run to resume"),
        (["--data", "gone.npz"], "'gone.npz': no such file"),
        (["--data", "fashion-mnist"], "only the test images are bundled"),
        (
            ["--data", "test.npz"],
            "the test images are among the training images 'test.npz'",
        ),
        (["--loss", "l3"], "loss 'l3' is unknown; there are ['ce', 'decoupled',"),
        (["--loss", "kl:0.5"], "'kl:0.5': expected options as kl:key=value"),
        (["--loss", "kl:=3"], "'kl:=3': expected NAME or NAME:key=value,key=value"),
        (["--loss", "kl:heat=3"], "has no option ['heat']; it has ['temperature']"),
        (["--loss", "kl:temperature=hot"], "option 'temperature' is 'hot'"),
        (["--loss", "kl:weight=-1"], "loss.0.weight: input should be greater than"),
        (["--loss", "kl:weight=1,weight=2"], "'weight' is given twice"),
        (["--loss", "kl", "--loss", "kl"], "loss ['kl'] is configured twice"),
        (["--loss", "nld:form=own"], "option 'form' is 'own': input should be 'rel"),
        (
            ["--loss", "json:dumps"],
            "expected (student, teacher, *, options with defaults)",
        ),
        (["--loss", "json:gone"], "loss 'json:gone': cannot import it"),
        (["--loss", "json:JSONDecoder"], "is a type, expected a function"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(capsys, arguments, message):
    refused(capsys, distill(*arguments), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlr = 3\n", "training.lr: unknown key; known are"),
        ("sead = 3\n", "sead: unknown key (did you mean 'seed'?)"),
        ("[student]\nsteps = 0\n", "student.steps: "),
        ("[training]\nsteps = 1\n", "training.steps is 1, expected at least"),
        ("[[loss]]\nname = 'l3'\n", "loss 'l3' is unknown; there are ['ce'"),
        ("[[loss]]\nname = 'kl'\nheat = 3\n", "has no option ['heat']; it has ['temp"),
        (
            "[[loss]]\nname = 'kl'\ntemperature = 'hot'\n",
            "option 'temperature' is 'hot'",
        ),
        (
            "[[loss]]\nname = 'kl'\ntemperature = 0.0\n",
            "temperature is 0.0; it must be",
        ),
        ("[student]\narchitecture = 'mlp'\n", "architecture 'mlp' is unknown"),
        ("[student.options]\nwidths = 3\n", "option 'widths' is 3"),
        ("[student]\nsurrogate = 'ramp'\n", "surrogate 'ramp' is unknown"),
        ("seed = = 1\n", "not TOML"),
    ],
)
def test_a_wrong_file_is_one_clear_error(folder, capsys, text, message):
    (folder / "tiny.toml").write_text(
        f"test_data = 'none'\n{text}\n[teacher]\nsource = 'teacher.safetensors'\n"
    )
    refused(capsys, distill(), message)


def test_a_foreign_checkpoint_is_one_clear_error(folder, make_teacher, capsys):
    weights = make_teacher("vgg").network.state_dict()
    torch.save(weights, folder / "vgg.pt")
    refused(capsys, distill("--teacher", "vgg.pt"), "contains no description")
    text = TINY.format(data="test.npz", teacher="vgg.pt")
    described = text.replace("[student]", DESCRIPTION + "\n[student]", 1)
    (folder / "tiny.toml").write_text(described)
    refused(capsys, distill(), "teacher 'vgg.pt' is not a resnet with options")
    (folder / "vgg.pt").write_bytes(b"something else")
    refused(capsys, distill(), "not a state dict that can be read safely")


MODULE = """
from torch import nn

def without_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def of_large_images():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 3))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("without_norm", "no BatchNorm2d with running statistics"),
        ("of_large_images", "does not accept an image of (1, 8, 8)"),
    ],
)
def test_a_teacher_that_cannot_teach_is_one_clear_error(folder, capsys, name, message):
    module = f"own_{folder.name}"
    (folder / f"{module}.py").write_text(MODULE)
    text = TINY.format(data="test.npz", teacher=f"{module}:{name}")
    described = text.replace("[student]", DESCRIPTION + "\n[student]", 1)
    (folder / "tiny.toml").write_text(described)
    refused(capsys, distill(), message)


def test_test_images_of_another_size_are_one_clear_error(folder, striped, capsys):
    wide = np.repeat(striped(6).images, 2, axis=3)
    np.savez(folder / "test.npz", images=wide, labels=np.zeros(6, np.int64))
    refused(capsys, distill(), "have shape (1, 8, 16), the teacher takes (1, 8, 8)")


# stars teacher train


def train(*arguments: object) -> int:
    base = ["teacher", "train", "--data", "data.npz", "--out", "run"]
    return main([*base, *map(str, arguments)])


@pytest.fixture
def data(folder, striped) -> Path:
    train_split, test = striped(90), striped(30, seed=1)
    np.savez(
        folder / "data.npz",
        x_train=train_split.images,
        y_train=train_split.labels,
        x_test=test.images,
        y_test=test.labels,
    )
    (folder / "teacher.toml").write_text(
        "batch_size = 30\n[options]\nwidths = [4, 6]\ndepths = [1, 1]\n"
    )
    return folder / "data.npz"


@pytest.mark.usefixtures("data")
def test_a_trained_teacher_can_be_distilled(capsys):
    flags = ["--config", "teacher.toml", "--epochs", 1]
    assert train(*flags, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "stars.teacher/1"
    assert 0 <= found["test_accuracy"] <= 1
    Path("run").rename("teacher-run")
    assert distill("--teacher", "teacher-run/teacher.safetensors") == 0


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("name", "test_data", "flip"),
    [("mnist", "none", False), ("fashion-mnist", "fashion-mnist", True)],
)
def test_a_teacher_records_what_a_distillation_takes_from_it(name, test_data, flip):
    kind = TORCHVISION[name]
    raw = Path(kind, "raw")
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        images = rng.integers(0, 256, (30, 28, 28), np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        labels = np.arange(30, dtype=np.uint8) % 10
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
    flags = ["--config", "teacher.toml", "--epochs", 1]
    assert train(*flags, "--data", f"{name}:.") == 0
    Path("run").rename("own")
    notes = load("own/teacher.safetensors").spec.notes
    assert (notes["data"], notes["flip"]) == (name, flip)
    assert notes["class_names"] == getattr(datasets, kind).classes
    text = Path("tiny.toml").read_text().replace('test_data = "test.npz"', "")
    Path("tiny.toml").write_text(text)
    assert distill("--teacher", "own/teacher.safetensors") == 0
    config = Run(Path("run")).read_config()
    assert config["test_data"] == test_data
    assert config["training"]["flip"] is flip


def idx(array: np.ndarray) -> bytes:
    """The bytes of a file of MNIST."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize(
    ("said", "warned"), [(1.0, True), (0.05, False), (None, False)]
)
def test_a_teacher_far_less_accurate_than_its_file_is_told(
    folder, make_teacher, capsys, said, warned
):
    teacher = make_teacher()
    teacher.spec = replace(teacher.spec, notes={"test_accuracy": said})
    save(teacher, folder / "teacher.safetensors")
    assert distill() == 0
    told = "but its file says 100.00 %; check test_data and the order of its classes"
    assert (told in capsys.readouterr().err) == warned


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "epochs: "),
        (["--architecture", "mlp"], "architecture 'mlp' is unknown"),
        (["--data", "gone.npz"], "'gone.npz': no such file"),
        (["--data", "fashion-mnist"], "only the test images are bundled"),
        (["--data", "test.npz"], "the test images are the training images"),
        (["--device", "abacus"], "device 'abacus' is not available"),
        (["--config", "tiny.toml"], "unknown key; known are"),
        ([], "90 training images do not fill one batch of 128"),
    ],
)
def test_a_teacher_that_cannot_be_trained_is_one_clear_error(
    capsys, arguments, message
):
    refused(capsys, train(*arguments), message)
