"""A distillation that is killed at any moment and resumed ends bit for bit the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stars.teacher.loading import save

PROGRAM = Path(__file__).with_name("kills.py")
CONFIG = """
test_data = "none"
trouble = "warn"
[teacher]
source = "{teacher}"
[student]
steps = 2
options = {{ widths = [3, 4], depths = [1, 1] }}
[synthesis]
rounds = 6
steps = 3
batch_size = 12
harvest = 2
latent = 4
width = 4
bank = 60
[training]
steps = 18
batch_size = 12
[grid]
steps = 20
"""


def assert_it_ends_the_same(make_teacher, folder: Path, seed: int, count: int) -> None:
    save(make_teacher(), folder / "teacher.safetensors")
    config = folder / "config.toml"
    config.write_text(CONFIG.format(teacher=folder / "teacher.safetensors"))
    output = subprocess.check_output(
        [sys.executable, PROGRAM, str(seed), str(count), config, folder]
    )
    found = json.loads(output)
    assert found["whole"] == 0
    assert len(found["runs"]) == count
    ends = []
    for run in found["runs"]:
        *kills, (_, last) = run["ends"]
        assert last == 0, run
        assert run["differ"] == [], run
        assert run["left"] == [], run
        for way, code in kills:
            assert code in ({0, 130} if way == "Ctrl-C" else {0, -9}), run
        ends += [code for _, code in kills]
    assert -9 in ends


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(make_teacher, tmp_path):
    assert_it_ends_the_same(make_teacher, tmp_path, 20, 1)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20, 24))
def test_six_killed_runs_end_as_one_that_was_not(make_teacher, tmp_path, seed):
    assert_it_ends_the_same(make_teacher, tmp_path, seed, 6)
