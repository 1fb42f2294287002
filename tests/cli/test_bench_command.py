"""`stars bench`: real cells, a cell that fails, and what is refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from stars.teacher.loading import save

TINY = """
trouble = "warn"  # after so few steps it is silent
[student]
steps = 2
options = { widths = [3, 4], depths = [1, 1] }

[synthesis]
steps = 2
batch_size = 12
harvest = 2
latent = 4
width = 4

[training]
steps = 4
batch_size = 12

[grid]
steps = 2
"""


@pytest.fixture
def folder(make_teacher, striped, tmp_path: Path, monkeypatch) -> Path:
    """The current folder: a teacher, both splits of its data, a configuration."""
    monkeypatch.chdir(tmp_path)
    save(make_teacher(), tmp_path / "teacher.safetensors")
    train, test = striped(60, seed=1), striped(30)
    np.savez(
        tmp_path / "data.npz",
        x_train=train.images,
        y_train=train.labels,
        x_test=test.images,
        y_test=test.labels,
    )
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path


def bench(name: str, *arguments: object, evaluated: str = "data.npz@train[:20]") -> int:
    shared = ["--out", "sweep", "--config", "tiny.toml", "--eval", evaluated]
    teacher = ["--teacher", "teacher.safetensors"]
    return main(["bench", name, *shared, *teacher, *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_an_ablation_runs_its_cells_and_shows_the_one_that_fails(capsys):
    arguments = ["--methods", "fast", "--variants", "base,tar", "--seeds", "0"]
    flags = ["--passes", 4, "--tar", "tail:softness=-1.0", "--jobs", 2, "--json"]
    assert bench("ablation", *arguments, *flags) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "stars.bench.ablation/1"
    assert found["evaluated_on"] == {
        "data": "data.npz@train[:20]",
        "kind": "development",
    }
    base, tar = found["rows"]
    assert base["error"] is None
    assert (base["teacher_images"], base["student_steps"]) == (48, 4)
    assert 0 <= base["student_accuracy"] <= 1
    assert "softness -1.0 must be > 0" in tar["error"]
    table = Path("sweep/ablation.md").read_text()
    assert "development images data.npz@train[:20]" in table
    assert "| fast | tar | 0 | - |" in table
    assert json.loads(Path("sweep/ablation.json").read_text()) == found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ablation", ["--methods", "magic"], "method ['magic'] is unknown"),
        ("ablation", ["--passes", "7"], "a budget of 7 is not a multiple"),
        ("ablation", ["--seeds", "one"], "--seeds 'one': invalid literal"),
        ("losses", ["--losses", "l3"], "loss ['l3'] is unknown; there are ['ce'"),
        ("losses", ["--eval", "none.npz"], "'none.npz'"),
        ("ablation", ["--teacher", "none.safetensors"], "no such file"),
    ],
)
def test_a_benchmark_that_cannot_be_is_one_clear_error(
    capsys, name, arguments, message
):
    assert bench(name, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("sweep").exists()
