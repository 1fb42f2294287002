"""The outputs at 80 columns, as golden files; no number is ever cut.

STARS_WRITE_GOLDEN=1 writes them again, on purpose: read the difference.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from versions import older

from cli.main import COMMANDS, GROUPS, main

GOLDEN = Path(__file__).parents[1] / "golden" / "terminal"
OUTPUTS = {
    "parity": ["parity", "run", "--target", "loihi", "--target", "onnx"],
    "parity-verbose": ["parity", "run", "--target", "loihi", "--verbose"],
    "parity-failed": [
        *("parity", "run", "--target", "loihi", "--forced-images", "0"),
        *("--substitute", "loihi=other.nir"),
    ],
    "energy": ["energy", "run"],
    "energy-layers": ["energy", "run", "--layers", "--explain", "loihi2"],
    "check": ["check", "run"],
    "export": ["export", "run", "--target", "onnx"],
    "verify": ["verify", "run/artifacts/student.nir", "run/parity.json"],
    "report": ["report", "run"],
    "compare": ["compare", "run", "run"],
    "quantize": ["quantize", "run", "--out", "new.nir", "--bits", "4"],
}
CODES = {"parity-failed": 3}
NESTED = [f"{group} {name}" for group, inner in GROUPS.items() for name in inner]


@pytest.fixture
def run(proved, tmp_path, monkeypatch):
    """A run in the working folder, and another network beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copytree(proved, tmp_path / "run")
    arguments = ["quantize", "run", "--out", "other.nir", "--bits", "2"]
    assert main(["--quiet", *arguments, "--images", "1"]) == 0


def compare(name: str, text: str) -> None:
    if older("rich", 15) or older("typer", 0, 29):
        pytest.skip("the golden outputs are of rich 15 and typer 0.29")
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("STARS_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def settled(text: str) -> str:
    """The text without what changes from run to run."""
    text = re.sub(r"data\s+'/\S*/test\.npz'", "data 'test.npz'", text)
    text = re.sub(r"seconds +[\d.]+", "seconds N", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_at_80_columns_is_as_it_was(name, capsys):
    capsys.readouterr()
    assert main(OUTPUTS[name]) == CODES.get(name, 0)
    streams = capsys.readouterr()
    compare(name, settled(f"{streams.out}--- stderr\n{streams.err}"))


@pytest.mark.parametrize("name", ["", *COMMANDS, *GROUPS, *NESTED])
def test_the_help_at_80_columns_is_as_it_was(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*name.split(), "--help"]) == 0
    file = f"help {name}".strip().replace(" ", "-")
    compare(file, settled(capsys.readouterr().out))


@pytest.mark.parametrize("name", ["targets", "doctor"])
def test_what_depends_on_the_machine_keeps_to_the_width(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


@pytest.mark.usefixtures("run")
def test_a_pipe_takes_the_width_that_it_is_given(capsys, monkeypatch):
    widths = []
    for columns in (60, 150):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["--quiet", "check", "run"]) == 0
        widths.append(max(map(len, capsys.readouterr().out.splitlines())))
    assert widths[0] <= 60 < widths[1] <= 150


@pytest.mark.usefixtures("run")
def test_progress_in_a_log_has_share_and_minutes_left(capsys):
    assert main(["parity", "run", "--target", "loihi", "--images", "2"]) == 0
    err = capsys.readouterr().err
    assert "loihi 2/2, 100 %" in err
    assert err.splitlines()[-1] == "next: stars energy run"
    assert "targets.keeping" not in err
