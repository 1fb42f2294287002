"""No malformed file crashes a reader, stops it, or gets anything but a StarsError."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
READERS = [
    *("nir", "onnx", "plan", "images", "student", "teacher", "pt", "config", "costs"),
    *("limits", "manifest", "parity", "energy", "sweep", "metrics", "png"),
]
SEED = 20
MEMORY = 2 * 2**30  # bytes
COUNT = 10_000
PARTS = {"nir": 5}  # of those that take minutes
GUIDED = {"nir": 2_000}  # runs of those that take minutes, or else COUNT


def assert_readers_survive(
    names: str, seed: int, count: int, folder: Path
) -> list[str]:
    """The names of those that were tried."""
    result = subprocess.run(
        [sys.executable, FOLDER / "malformed.py", names, str(seed), str(count), folder],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert result.returncode == 0, (folder / "now").read_text()
    found = json.loads(result.stdout)
    for name, of in found.items():
        assert of["wrong"] == 0, (name, of["first"])
        assert of["read"] + of["refused"] == count
        assert of["refused"] > count / 4
        assert of["slowest_s"] < 5
        assert of["peak_bytes"] < MEMORY
    return list(found)


@pytest.mark.slow
def test_every_reader_survives_100_malformed_files(tmp_path):
    assert assert_readers_survive("all", SEED, 100, tmp_path) == READERS


@pytest.mark.torture
@pytest.mark.parametrize(
    ("name", "part"), [(name, i) for name in READERS for i in range(PARTS.get(name, 1))]
)
def test_a_reader_survives_10000_malformed_files(name, part, tmp_path):
    count = COUNT // PARTS.get(name, 1)
    assert assert_readers_survive(name, SEED + part, count, tmp_path) == [name]


@pytest.mark.torture
@pytest.mark.skipif(sys.platform != "linux", reason="atheris is for Linux")
@pytest.mark.parametrize("name", READERS)
def test_a_reader_survives_files_that_its_own_code_guides(name, tmp_path):
    runs = GUIDED.get(name, COUNT)
    command = [sys.executable, FOLDER / "guided.py", name, str(SEED), str(runs)]
    result = subprocess.run(
        [*command, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert sum(counts.values()) == runs
    assert len(list((tmp_path / "corpus").iterdir())) > 1  # it was guided
