"""Two processes compute what one does, and stop together."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from stars.distillation.loop import distill, unseen
from stars.errors import ConfigError, MissingDependencyError
from stars.run_directory import Run
from stars.runtime import distributed
from stars.synthesis import METHODS
from stars.teacher.loading import save

ROOT = Path(__file__).parents[3]
JOB = Path(__file__).with_name("distributed_job.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
SECONDS = 120  # limit for a group of processes


def launch(
    *arguments: str, folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in two processes, as a user would."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    return subprocess.run(
        [*torchrun, "--standalone", "--nproc-per-node", "2", *arguments],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The functions of the script that the processes run."""
    return runpy.run_path(str(JOB))


@pytest.fixture(scope="module")
def folder(job, make_teacher, tmp_path_factory) -> Path:
    """The runs of two processes, and the same runs of one process."""
    folder = tmp_path_factory.mktemp("runs")
    save(make_teacher(), folder / "teacher.safetensors")
    with job["float64"](make_teacher()) as teacher:
        job["killed"](teacher, folder / "resumed", first=True)
        whole = Run.create(folder / "whole", job["CONFIG"])
        distill(job["CONFIG"], teacher, None, whole, unseen)
    result = launch(str(JOB), str(folder / "teacher.safetensors"), str(folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def traces(job, folder, make_teacher) -> tuple[dict[str, Any], dict[str, Any]]:
    """The traces of one round: with one process, and with two."""
    with job["float64"](make_teacher()) as teacher:
        return job["trace"](teacher), torch.load(folder / "trace.pt")


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_makes_the_images_of_one_process(method, inverted, traces):
    assert largest_gap(inverted[method], traces[1]["inverted"][method]) < 1e-9


@pytest.mark.slow
def test_labels_of_real_images_go_with_their_images(job, traces, make_teacher):
    with job["float64"](make_teacher()) as teacher:
        one = job["labeled"](teacher)
    two = traces[1]["labeled"]
    assert one["labels"].shape == (12, 3)
    assert torch.equal(one["images"], two["images"])
    assert torch.equal(one["labels"], two["labels"])
    assert gap(one["ce"], two["ce"]) < 1e-6  # this loss is in float32


@pytest.fixture(scope="module")
def inverted(job, make_teacher) -> dict[str, Any]:
    """Two rounds of each method, in one process."""
    with job["float64"](make_teacher()) as teacher:
        return job["inverted"](teacher)


def largest_gap(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    assert a.keys() == b.keys()
    return max(gap(a[name], b[name]) for name in a)


def gap(a: torch.Tensor | float, b: torch.Tensor | float) -> float:
    one, two = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    return float((one - two).abs().max() / one.abs().max().clamp(min=1e-12))


@pytest.mark.slow
def test_losses_and_gradients_of_every_step_are_those_of_one_process(traces):
    one, two = traces
    assert len(one["losses"]) == len(two["losses"]) == 6  # three of each network
    for a, b in zip(one["losses"], two["losses"], strict=True):
        assert largest_gap(a, b) < 1e-9
    for a, b in zip(one["gradients"], two["gradients"], strict=True):
        assert max(gap(x, y) for x, y in zip(a, b, strict=True)) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("network", ["student", "generator"])
def test_weights_and_running_statistics_are_those_of_one_process(traces, network):
    one, two = traces
    assert largest_gap(one[network], two[network]) < 1e-9


@pytest.mark.slow
def test_the_bank_is_the_same_and_each_process_holds_its_part(traces):
    one, two = traces
    assert torch.equal(one["bank"], two["bank"])
    assert (one["held"], two["held"]) == (24, 12)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(job, folder, make_teacher):
    run = Run(folder / "killed")
    assert len(run.metrics_path.read_text().splitlines()) == 2
    with job["float64"](make_teacher()) as teacher:
        distill(job["CONFIG"], teacher, None, run, unseen)
    assert len(run.metrics_path.read_text().splitlines()) == 3
    whole = Run(folder / "whole")
    assert_same_end(run, whole)


@pytest.mark.slow
def test_a_run_of_one_process_goes_on_in_two_and_one_of_them_writes(folder):
    run, whole = Run(folder / "resumed"), Run(folder / "whole")
    files = [{p.name for p in r.path.rglob("*") if p.is_file()} for r in (run, whole)]
    assert files[0] == files[1]
    assert len(run.metrics_path.read_text().splitlines()) == 3
    assert_same_end(run, whole)


def assert_same_end(run: Run, whole: Run) -> None:
    """The last checkpoints hold equal students and equal, full banks."""
    a, b = (r.load_checkpoint()["distillation"] for r in (run, whole))
    assert largest_gap(a["student"], b["student"]) < 1e-9
    assert len(a["bank"]) == 43
    assert torch.equal(a["bank"], b["bank"])


# Errors

OWN_LOSS = """
import os

def fails_late(student, teacher):
    fails_late.calls += 1
    if os.environ["RANK"] == "1" and fails_late.calls == 3:
        raise ArithmeticError("the second process cannot go on")
    return student.logits.square().mean()

fails_late.calls = 0
"""
CONFIG = """
test_data = "none"
trouble = "warn"
backend = "norse-eager"
loss = [{ name = "own:fails_late" }]
training = { steps = 8, batch_size = 4 }
student = { steps = 2, options = { widths = [3, 4], depths = [1, 1] } }

[synthesis]
rounds = 2
steps = 1
batch_size = 4
harvest = 1
latent = 4
width = 4
"""


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_one_message(make_teacher, tmp_path):
    save(make_teacher(), tmp_path / "teacher.safetensors")
    (tmp_path / "own.py").write_text(OWN_LOSS)
    (tmp_path / "config.toml").write_text(CONFIG)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    command = "-m stars distill --out run --teacher teacher.safetensors"
    result = launch(
        *command.split(), "--config", "config.toml", folder=tmp_path, PYTHONPATH=path
    )
    assert result.returncode != 0
    messages = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert len(messages) == 1
    assert "ArithmeticError: the second process cannot go on" in messages[0]


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    distributed.check_batch(12, "training.batch_size")
    with pytest.raises(ConfigError, match=r"batch_size is 8, .* multiple of 3, the"):
        distributed.check_batch(8, "training.batch_size")


@pytest.mark.parametrize(("name", "own"), [("cpu", "cpu"), ("cuda", "cuda:1")])
def test_each_process_has_a_device_of_its_own(monkeypatch, name, own):
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.own_device(name) == own
    with pytest.raises(ConfigError, match="'cuda:0' cannot be that of 2 processes"):
        distributed.own_device("cuda:0")


def test_several_processes_without_accelerate_say_what_to_install(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with (
        pytest.raises(MissingDependencyError, match="pip install"),
        distributed.Group(),
    ):
        pass


def test_a_process_of_its_own_sets_nothing_up(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.Group() as group:
        assert group.first
        assert not torch.distributed.is_initialized()
