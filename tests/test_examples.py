"""The examples run as they stand; those that distill, on tiny settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOK = "compare_energy.py"
TINY = """
trouble = "warn"
backend = "norse-eager"
test_data = "none"

[student]
steps = 2
options = { widths = [3, 4], depths = [1, 1] }

[synthesis]
rounds = 1
steps = 2
batch_size = 12
harvest = 2
latent = 4
width = 4
bank = 60
bf16 = false

[training]
steps = 2
batch_size = 12
bf16 = false

[grid]
steps = 1
"""
LAST_LINE = {
    "own_teacher.py": "exact on both: True",
    "own_loss.py": "certificate: spikes and membranes exact",
    "nir_to_loihi.py": "exact on Loihi's arithmetic and on Norse: True",
    "onnx_stream.py": "equal to one run: True",
}


@pytest.mark.parametrize("name", LAST_LINE)
def test_an_example_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    config = ["--config", "tiny.toml"] if "--config" in source else []
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *config],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == LAST_LINE[name]


def test_the_notebook_runs_in_a_kernel(tmp_path: Path) -> None:
    notebook = tmp_path / "compare_energy.ipynb"
    jupytext = [sys.executable, "-m", "jupytext", "--to", "ipynb"]
    subprocess.run(
        [*jupytext, "--output", str(notebook), str(EXAMPLES / NOTEBOOK)],
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", notebook.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "text/html" in notebook.read_text(encoding="utf-8")


def test_every_example_is_short_and_is_run() -> None:
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == {*LAST_LINE, NOTEBOOK}
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
