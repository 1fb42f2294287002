"""The worker's surroundings, as far as they can be tested where there is no Lava."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from export.to_lava import PLAIN_LAVA
from stars.errors import TargetError
from targets.lava import supervision
from targets.lava.supervision import (
    WORKER,
    Patience,
    ProgressWatch,
    end_group,
    living_groups,
    remove_shared_memory,
    run_worker,
)

SOURCES = [*sorted(WORKER.parent.rglob("*.py")), PLAIN_LAVA]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_worker_is_a_program_of_its_own(path: Path) -> None:
    """It runs in Python 3.10, where stars is not installed."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    ours = {"stars", "export", "targets", "cli"}
    assert {name.partition(".")[0] for name in imported} & ours == set()


def test_a_python_without_lava_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "progress.npy", np.zeros(2, np.int64))
    (tmp_path / "job.json").write_text(json.dumps({"mode": "fixed"}))
    (tmp_path / "empty").mkdir()
    python = tmp_path / "python"  # ours, without site-packages
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(TargetError, match="ended with exit code 1") as caught:
        run_worker(python, tmp_path, "/stars_test_", Patience())
    assert "ModuleNotFoundError" in caught.value.log


def watch(tmp_path: Path, patience: Patience) -> tuple[ProgressWatch, np.ndarray]:
    path = tmp_path / "progress.npy"
    np.save(path, np.zeros(3, np.int64))
    return ProgressWatch(path, patience), np.load(path, mmap_mode="r+")


def test_a_worker_that_moves_is_left_alone(tmp_path: Path) -> None:
    looking, progress = watch(tmp_path, Patience(start=0.3, stall=0.3))
    for _ in range(10):
        time.sleep(0.05)
        progress += 1
        assert looking.problem() is None


def test_a_worker_that_only_lives_is_given_up(tmp_path: Path) -> None:
    looking, progress = watch(tmp_path, Patience(stall=0.2))
    progress[1] = 7
    problem = None
    for _ in range(10):
        time.sleep(0.05)
        progress[0] += 1
        problem = problem or looking.problem()
    assert problem == "it did not move for 0 s, after 0 steps"


@pytest.mark.parametrize("beat_at", [0.0, 0.1, 0.19])
def test_a_worker_that_stopped_gives_no_sign_of_life_whichever_came_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat_at: float
) -> None:
    """It stops at 0.2 s; its last step or its last heartbeat was before."""
    now = 0.0
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    for step_at in (0.0, 0.1, 0.19):
        now = 0.0
        looking, progress = watch(tmp_path, Patience(stall=4.0))
        problem = None
        while problem is None:
            progress[0] += now == beat_at
            progress[1:] += now == step_at
            problem = looking.problem()
            now = round(now + 0.01, 2)
        assert problem == "it gave no sign of life for 4 s"
        assert now < 4.3


def test_slow_steps_earn_patience(tmp_path: Path) -> None:
    looking, progress = watch(tmp_path, Patience(stall=0.05))
    for _ in range(3):
        progress += 1
        assert looking.problem() is None
        time.sleep(0.04)
    for _ in range(5):  # far beyond the stall, within twenty slow steps
        time.sleep(0.04)
        progress[0] += 1
        assert looking.problem() is None


def test_shared_memory_of_a_job_is_removed_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "SHARED_MEMORY", tmp_path)
    for name in ("stars_a_1", "stars_a_2", "stars_b_1", "psm_1"):
        (tmp_path / name).touch()
    remove_shared_memory("/stars_a_")
    assert {path.name for path in tmp_path.iterdir()} == {"stars_b_1", "psm_1"}


SLOW_TO_END = """
import os, signal, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    held = bytearray(b"x") * (400 << 20)  # giving it back takes some time
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_end_of_a_killed_workers_children_is_waited_for() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_END],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    worker.kill()
    end_group(worker)
    worker.stdout.close()
    assert worker.pid not in living_groups()
