"""The program that runs in a reader's environment."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from targets.conformance import readers

READER = """
import sys
def simulate(path, dt, inputs):
    if path == "bad":
        sys.exit("gone")
    return None if path == "silent" else inputs * dt
"""


def test_it_writes_an_output_a_reason_or_a_mark_for_each_case(tmp_path):
    (tmp_path / "own.py").write_text(READER)
    np.save(tmp_path / "x.npy", np.ones((2, 1, 3)))
    cases = {name: [name, str(tmp_path / "x.npy")] for name in ("a", "bad", "silent")}
    out = tmp_path / "out"
    out.mkdir()
    request = {"dt": 0.5, "cases": cases, "out": str(out)}
    (tmp_path / "request.json").write_text(json.dumps(request))
    program = [sys.executable, str(Path(readers.__file__)), "own:simulate"]
    subprocess.run([*program, str(tmp_path / "request.json")], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(out / "a.npy"), np.full((2, 1, 3), 0.5))
    assert (out / "bad.txt").read_text() == "SystemExit: gone (own.py)"
    assert (out / "silent.read").is_file()


def test_ours_is_a_reader_too():
    suite = Path(__file__).parents[3] / "conformance"
    arrays = np.load(suite / "residual.npz")
    found = readers.ours(str(suite / "residual.nir"), 1e-4, arrays["input"])
    np.testing.assert_array_equal(found, arrays["output"])
