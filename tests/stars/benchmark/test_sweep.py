"""Sweeps: their cells, their rows and their table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stars.benchmark import sweep
from stars.benchmark.sweep import Cell
from stars.config.models import DistillConfig
from stars.errors import ConfigError, FormatError

# Running

PROGRAM = """
import json, sys, pathlib
arguments = sys.argv[1:]
text = pathlib.Path(arguments[2]).read_text()
out = pathlib.Path(arguments[4])
out.mkdir(parents=True, exist_ok=True)
(out / "config.toml").write_text(text)
if "seed = 1" in text:
    sys.exit("error: the second seed fails")
calls = out / "calls"
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
result = {"teacher_accuracy": .9, "student_accuracy": .5, "grid_accuracy": .4}
(out / "manifest.json").write_text(json.dumps({**result, "seconds": 3.0}))
steps = 100 if "seed = 2" not in text else 99
lines = [{"teacher_images": 4, "student_steps": 50, "seconds": 1.0},
         {"teacher_images": 4, "student_steps": steps, "seconds": 2.0}]
(out / "metrics.jsonl").write_text("\\n".join(map(json.dumps, lines)))
"""


def cells(*seeds: int) -> list[Cell]:
    budget = {"teacher_images": 8, "student_steps": 100}
    return [Cell({"method": "a"}, DistillConfig(seed=s), budget) for s in seeds]


def run(folder: Path, *seeds: int, **changes) -> list[sweep.Row]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    notes: list[str] = []
    return sweep.run(
        changes.get("cells", cells(*seeds)),
        folder / "sweep",
        (sys.executable, str(program)),
        jobs=2,
        threads=1,
        note=notes.append,
    )


def test_a_cell_that_fails_is_a_row_that_says_so(tmp_path: Path):
    good, bad = run(tmp_path, 0, 1)
    assert good == {
        "method": "a",
        "seed": 0,
        "teacher_accuracy": 0.9,
        "student_accuracy": 0.5,
        "grid_accuracy": 0.4,
        "seconds": 3.0,
        "rounds_seconds": 2.0,
        "teacher_images": 8,
        "student_steps": 100,
        "error": None,
    }
    assert bad == {"method": "a", "seed": 1, "error": "the second seed fails"}
    assert "second seed" in (tmp_path / "sweep/cells/a-1.log").read_text()


def test_a_cell_off_its_budget_is_an_error(tmp_path: Path):
    (row,) = run(tmp_path, 2)
    assert row["error"] == "student_steps is 99, expected 100 by the budget"


def test_what_is_finished_is_not_run_again(tmp_path: Path):
    first = run(tmp_path, 0)
    assert run(tmp_path, 0) == first
    assert (tmp_path / "sweep/cells/a-0/calls").read_text() == "x"


@pytest.mark.parametrize("text", ["", "[]", "{", "3", '{"round": 1}'])
def test_damaged_metrics_are_one_clear_error(tmp_path: Path, text: str):
    run(tmp_path, 0)
    (tmp_path / "sweep/cells/a-0/metrics.jsonl").write_text(text)
    with pytest.raises(FormatError, match="manifest or metrics are damaged"):
        run(tmp_path, 0)


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path):
    run(tmp_path, 0)
    other = Cell({"method": "a"}, DistillConfig(seed=0, device="cuda"), {})
    with pytest.raises(ConfigError, match="made with another configuration"):
        run(tmp_path, cells=[other])
    with pytest.raises(ConfigError, match=r"has \['a-0'\] twice"):
        run(tmp_path, 0, 0)


# The table


def row(variant: str, seed: int, share: float | None, error: str | None = None):
    figures = {
        "student_accuracy": share,
        "grid_accuracy": share,
        "seconds": 10.0,
        "rounds_seconds": 5.0,
        "student_steps": 100,
    }
    labels = {"method": "m", "variant": variant, "seed": seed, "error": error}
    return labels if error else {**labels, **figures}


def test_means_and_gains_over_the_same_seeds_by_hand():
    """0.5 and 0.7 against 0.6 and 0.7: gains 0.1 and 0; failed seeds do not count."""
    rows = [
        row("base", 0, 0.5),
        row("base", 1, 0.7),
        row("rca", 0, 0.6),
        row("rca", 1, 0.7),
        row("rca", 2, None, "lost"),
    ]
    base, rca = sweep.summary(rows, ("method", "variant"), {"variant": "base"})
    assert base["student_accuracy"] == {
        "mean": pytest.approx(0.6),
        "sd": pytest.approx(0.1414, abs=1e-4),
    }
    assert base["gain"]["mean"] == 0
    assert rca["gain"] == {
        "mean": pytest.approx(0.05),
        "sd": pytest.approx(0.0707, abs=1e-4),
    }
    assert (rca["seeds"], rca["failed"]) == (2, 1)
    assert rca["step_milliseconds"]["mean"] == 50
    text = sweep.markdown([base, rca], ("method", "variant"), "Title")
    assert text.splitlines() == [
        "Title",
        "",
        "| method | variant | seeds | student, % | on the grid, % | gain, points"
        " | seconds | ms a step | failed |",
        "|---|---|---|---|---|---|---|---|---|",
        "| m | base | 2 | 60.00 +- 14.14 | 60.00 +- 14.14 | 0.00 +- 0.00"
        " | 10.00 +- 0.00 | 50.00 +- 0.00 | 0 |",
        "| m | rca | 2 | 65.00 +- 7.07 | 65.00 +- 7.07 | 5.00 +- 7.07"
        " | 10.00 +- 0.00 | 50.00 +- 0.00 | 1 |",
    ]


def test_what_was_not_measured_is_a_dash_and_never_a_number():
    rows = [row("base", 0, None, "lost")]
    (found,) = sweep.summary(rows, ("method", "variant"), {"variant": "base"})
    assert found["student_accuracy"] == {"mean": None, "sd": None}
    assert "| m | base | 0 | - | - | - | - | - | 1 |" in sweep.markdown(
        [found], ("method", "variant"), ""
    )
    assert json.dumps(found)
