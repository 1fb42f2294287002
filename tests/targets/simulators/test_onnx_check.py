"""An ONNX file whose metadata were changed is refused, field by field."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import export
import targets
from export.to_onnx import metadata
from stars.errors import FormatError
from stars.testing.random_graphs import random_graph, random_images
from targets.simulators.onnx_check import check_metadata


@pytest.fixture(scope="module")
def graph():
    return random_graph(np.random.default_rng(0), kind="conv")


@pytest.fixture
def path(graph, tmp_path):
    export.write(graph, tmp_path / "net.onnx")
    export.write(graph, tmp_path / "net.nir")
    return tmp_path / "net.onnx"


def changed(path, name, value):
    """The file with one entry of its metadata replaced."""
    model = onnx.load(path)
    entries = {p.key: p.value for p in model.metadata_props}
    assert entries[name] != value
    onnx.helper.set_model_props(model, {**entries, name: value})
    onnx.save(model, path)


def another_mean(entry: str) -> str:
    values = json.loads(entry)
    return json.dumps({**values, "mean": [0.3 + m for m in values["mean"]]})


def another_seed(entry: str) -> str:
    return json.dumps({**json.loads(entry), "seed": 21})


CHANGES = {
    "encoding": another_mean,
    "golden": another_seed,
    "steps": lambda entry: str(int(entry) + 1),
    "dt": lambda entry: repr(float(entry) * 2),
    "reset": lambda entry: entry + ", or so",
    "k": lambda entry: entry.replace("1", "3"),
    "membrane_step": lambda entry: entry.replace("null", "0.5"),
    "initial_state": lambda entry: entry.replace("0.0", "0.25"),
    "readout": lambda entry: entry + "x",
    "text": lambda _: json.dumps({"teacher": "another"}),
}


def test_every_entry_of_the_metadata_is_changed_here(graph):
    names = set(metadata(graph, "scan")) - {"stars_format", "stars_version", "form"}
    assert {*names, "golden"} == set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_says_something_else_is_refused(name, graph, path):
    check_metadata(path, graph)
    entries = {p.key: p.value for p in onnx.load(path).metadata_props}
    changed(path, name, CHANGES[name](entries[name]))
    images = random_images(np.random.default_rng(1), 2, graph.shapes[graph.input])
    with pytest.raises(FormatError, match=rf"describe another network: {name} is"):
        targets.parity(path.with_suffix(".nir"), images, on=["onnx"], onnx=path)


def test_another_number_of_steps_that_was_asked_for_is_no_fault(graph, path):
    images = random_images(np.random.default_rng(1), 2, graph.shapes[graph.input])
    nir = path.with_suffix(".nir")
    assert targets.parity(nir, images, on=["onnx"], onnx=path, steps=3).ok
