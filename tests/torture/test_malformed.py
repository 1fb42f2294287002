"""No malformed file crashes a reader, stops it, or gets anything but a StarsError."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("malformed.py")
READERS = [
    *("nir", "onnx", "plan", "images", "student", "teacher"),
    *("pt", "config", "costs", "manifest", "png"),
]
SEED = 20
MEMORY = 2 * 2**30  # bytes


def assert_readers_survive(names: list[str], count: int, folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, PROGRAM, ",".join(names), str(SEED), str(count), folder],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert result.returncode == 0, (folder / "now").read_text()
    found = json.loads(result.stdout)
    assert list(found) == names
    for name, of in found.items():
        assert of["wrong"] == 0, (name, of["first"])
        assert of["read"] + of["refused"] == count
        assert of["refused"] > count / 4
        assert of["slowest_s"] < 5
        assert of["peak_bytes"] < MEMORY


@pytest.mark.slow
def test_every_reader_survives_100_malformed_files(tmp_path):
    assert_readers_survive(READERS, 100, tmp_path)


@pytest.mark.torture
@pytest.mark.parametrize("name", READERS)
def test_a_reader_survives_10000_malformed_files(name, tmp_path):
    assert_readers_survive([name], 10_000, tmp_path)
