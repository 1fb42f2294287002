"""`stars export --target c`: its options, its JSON, and a run's own folder."""

import json

import numpy as np
import pytest

from cli.main import main
from export.to_nir import write
from stars.testing.random_graphs import random_graph


@pytest.fixture
def file(tmp_path):
    write(random_graph(np.random.default_rng(5), kind="flat"), tmp_path / "net.nir")
    return str(tmp_path / "net.nir")


def test_options_of_c_reach_the_writer(file, tmp_path, capsys):
    rates = tmp_path / "rates.json"
    rates.write_text(json.dumps({"rates": {"input": 1.0}}))
    out = tmp_path / "firmware"
    command = ["export", file, "--target", "c", "--out", str(out), "--json"]
    assert main([*command, "--name", "demo", "--rates", str(rates)]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["name"], manifest["kernels"]["lif0"]) == ("demo", ["dense"])
    assert main([*command, "--kernels", "event"]) == 2
    assert "exists; give another --out, or --force" in capsys.readouterr().err
    assert main([*command, "--kernels", "event", "--force"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["name"], manifest["kernels"]["lif0"]) == ("network", ["event"])


def test_wrong_options_exit_with_2_and_write_nothing(file, tmp_path, capsys):
    out = tmp_path / "firmware"
    command = ["export", file, "--target", "c", "--out", str(out)]
    assert main([*command, "--name", "../up"]) == 2
    assert "name '../up': expected an identifier of C" in capsys.readouterr().err
    assert main([*command, "--rates", str(tmp_path / "none.json")]) == 2
    assert main(["export", file, "--name", "x", "--out", f"{out}.nir"]) == 2
    assert "format 'nir' has no name" in capsys.readouterr().err
    assert not out.exists()
