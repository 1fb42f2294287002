"""Files that earlier versions wrote are read by this one, and mean the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export.from_nir import read
from export.golden import golden_hashes, golden_inputs
from stars.config.models import DistillConfig, read_toml, validated
from stars.files.writing import read_json
from stars.graph import reference
from stars.grid.lowering import lower
from stars.grid.plan_file import read_plan
from stars.networks.grid_layers import layer_grids
from stars.networks.student import to_graph
from stars.networks.student_file import load
from stars.run_directory import checkpoint
from stars.teacher.loading import load as load_teacher
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from targets.loihi.emulator import emulate
from targets.simulators.onnx_runtime import first_states, open_file

GOLDEN = Path(__file__).parent / "golden"
LARGEST = 150_000  # bytes of a file


@pytest.fixture(params=["0.1"])
def folder(request) -> Path:
    """What a version wrote."""
    return GOLDEN / request.param


@pytest.fixture
def expected(folder) -> dict[str, object]:
    """What it says of its files."""
    return json.loads((folder / "expected.json").read_text())


def test_every_version_is_small(folder):
    assert max(path.stat().st_size for path in folder.iterdir()) < LARGEST


def test_its_network_computes_what_it_computed_then(folder, expected):
    assert golden_hashes(read(folder / "student.nir")) == expected["graph"]


def test_its_onnx_file_runs_as_its_network_does(folder):
    graph = read(folder / "student.nir")
    inputs = golden_inputs(graph)
    session, entries = open_file(folder / "student.onnx", threads=1)
    given = first_states(session, entries, inputs.shape[1])
    given["input"] = inputs.astype(np.float32)
    names = [f"state_out/{name}" for name in graph.neurons]
    desired = reference.run(graph, inputs).membranes
    for name, found in zip(graph.neurons, session.run(names, given), strict=True):
        np.testing.assert_array_equal(found, desired[name][-1])


def test_its_plan_is_the_plan_of_its_network(folder):
    plan = read_plan(folder / "plan.npz")
    graph = read(folder / "student.nir")
    inputs = golden_inputs(graph)
    actual, desired = emulate(plan, inputs), emulate(lower(graph), inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)


def test_its_student_is_its_network(folder, expected):
    network, file = load(folder / "student.safetensors")
    assert sum(p.numel() for p in network.parameters()) == expected["weights"]
    assert layer_grids(network)
    graph = to_graph(network, file.encoding, {})
    assert golden_hashes(graph)["sha256"] == expected["graph"]["sha256"]
    before, _ = load(folder / "student_float.safetensors")
    assert not layer_grids(before)


def test_its_teacher_is_the_one_it_was(folder, expected):
    teacher = load_teacher(str(folder / "teacher.safetensors"))
    assert teacher.checksum() == expected["teacher"]
    assert read_json(folder / "manifest.json")["teacher"]["sha256"] == (
        teacher.checksum()
    )


def test_its_configuration_is_one(folder):
    config = validated(DistillConfig, read_toml(folder / "config.toml"), "golden")
    assert config.student.steps == 3
    assert config.teacher.source == "teacher.safetensors"


def test_its_checkpoint_opens(folder):
    state = checkpoint(folder / "last.pt")
    assert state["round"] == 2
    assert {"student", "optimizer", "bank"} <= state["distillation"].keys()


def test_its_reports_say_what_they_are(folder):
    parity, energy = (read_json(folder / f"{n}.json") for n in ("parity", "energy"))
    assert parity["schema"] == "stars.parity/1"
    assert energy["schema"] == "stars.energy/1"
    assert parity["ok"] is True
    manifest = read_json(folder / "manifest.json")
    assert manifest["schema"] == 1
    assert "student.safetensors" in manifest["sha256"]
    rounds = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in rounds] == [1, 2]
    assert np.isfinite([json.loads(line)["seconds"] for line in rounds]).all()
