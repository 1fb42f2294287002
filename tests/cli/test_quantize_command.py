"""`stars quantize`: its file, its output and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from export.from_nir import read
from export.to_nir import write
from stars.graph.nodes import LIF
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.quantization import is_on_grid
from stars.testing.random_graphs import random_graph, random_images


def with_tau(graph: SpikingGraph, ratio: float) -> SpikingGraph:
    return graph.replace_nodes(
        {n: LIF.uniform(graph.shapes[n], tau=ratio * graph.dt) for n in graph.spiking}
    )


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    off = random_graph(np.random.default_rng(4), kind="conv", on_grid=False)
    return with_tau(off, 2)


@pytest.fixture
def file(graph: SpikingGraph, tmp_path: Path) -> Path:
    write(graph, tmp_path / "float.nir")
    return tmp_path / "float.nir"


def test_the_written_file_is_on_the_grid_and_the_report_says_what_it_cost(
    capsys: pytest.CaptureFixture[str], graph: SpikingGraph, file: Path, tmp_path: Path
) -> None:
    assert not is_on_grid(graph)
    out = tmp_path / "grid.nir"
    arguments = ["--quiet", "quantize", str(file), "--out", str(out), "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert certify(read(out)).ok
    assert report["schema"] == "stars.quantize/1"
    assert report["path"] == str(out)
    assert report["certificate"]["verdict"] == "spikes and membranes exact"
    assert report["source"] == (
        "64 random inputs, 8-bit images of uniform noise, seed 20"
    )
    assert [row["node"] for row in report["nodes"]] == ["conv0", "conv1", "dense"]
    for row in report["nodes"]:
        assert 0 < row["weight_error"] <= 2.0 ** row["step_exponent"] / 2
    assert 0.9 < report["decisions"] <= 1
    assert report["accuracy_before"] is None


def test_the_text_has_the_tables_the_certificate_and_the_accuracies(
    capsys: pytest.CaptureFixture[str], graph: SpikingGraph, file: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = random_images(rng, 9, graph.shapes[graph.input])
    np.savez(tmp_path / "data.npz", images=images, labels=rng.integers(0, 4, 9))
    arguments = ["quantize", str(file), "--out", str(tmp_path / "grid.nir")]
    arguments += ["--data", str(tmp_path / "data.npz"), "--images", "7"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "equal spikes" in text
    assert "certificate for T = 4: spikes and membranes exact" in text
    assert "measured on the first 7 of data" in text
    assert "accuracy " in text


def test_another_decay_is_refused_unless_it_may_be_rounded(
    capsys: pytest.CaptureFixture[str], graph: SpikingGraph, tmp_path: Path
) -> None:
    write(with_tau(graph, 3), tmp_path / "float.nir")
    arguments = ["--quiet", "quantize", str(tmp_path / "float.nir")]
    arguments += ["--out", str(tmp_path / "grid.nir")]
    assert main(arguments) == 4
    assert "'stars quantize --round-decay' takes the nearest" in capsys.readouterr().err
    assert not (tmp_path / "grid.nir").exists()
    assert main([*arguments, "--round-decay"]) == 0
    assert f"{3 * graph.dt:.6g} -> {4 * graph.dt:.6g}" in capsys.readouterr().out


def test_where_exactness_ends_is_said_with_node_bound_and_number(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    arguments = ["quantize", str(file), "--out", str(tmp_path / "grid.nir")]
    assert main([*arguments, "--steps", "20", "--images", "4"]) == 0
    streams = capsys.readouterr()
    assert "certificate for T = 20: exact up to T = " in streams.out
    assert "broken: population 'lif0': float32 needs" in streams.out
    assert "exact up to T = " in streams.err
    assert "pass --truncating-decay to go beyond" in streams.err
    arguments[-1] = str(tmp_path / "longer.nir")
    assert main([*arguments, "--steps", "20", "--truncating-decay"]) == 0
    streams = capsys.readouterr()
    assert "certificate for T = 20: spikes and membranes exact" in streams.out
    assert "truncating" not in streams.err
    on_grid = read(tmp_path / "longer.nir")
    assert on_grid.neuron("lif0").decay == "truncate"
    assert certify(on_grid, 60).ok


def test_inputs_and_data_exclude_each_other(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    arguments = ["quantize", str(file), "--out", str(tmp_path / "grid.nir")]
    assert main([*arguments, "--inputs", "x.npy", "--data", "fashion-mnist"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_an_export_of_a_float_network_names_the_command(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    arguments = ["export", str(file), "--target", "lava", "--out", str(tmp_path / "b")]
    assert main(arguments) == 2
    assert "'stars quantize' puts it there" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
