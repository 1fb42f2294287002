"""Golden vectors: whoever holds a file can check it, and a wrong one is seen."""

import dataclasses
import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest

from export.golden import GOLDEN_SAMPLES, golden_hashes
from export.to_onnx import to_onnx
from stars.graph.nodes import Affine
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph


def entries(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def checked_by_the_file_alone(model: onnx.ModelProto) -> dict[str, bool]:
    """Every golden hash against what onnxruntime computes, nothing of ours in it."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    about = entries(model)
    golden, code = json.loads(about["golden"]), json.loads(about["encoding"])
    given = {i.name: i.shape[1:] for i in session.get_inputs()}
    shape = given.pop("input")[1:]
    rng = np.random.default_rng(golden["seed"])
    images = rng.integers(0, 256, (golden["samples"], *shape), dtype=np.uint8)
    mean, deviation = (np.array(code[k])[:, None, None] for k in ("mean", "deviation"))
    step = 2.0 ** code["exponent"]
    rounded = (
        np.rint((images / 255 - mean) / deviation / step).clip(-127, 127) * step + 0.0
    )
    held = np.broadcast_to(rounded, (int(about["steps"]), *rounded.shape))
    first = {f"state/{n}": v for n, v in json.loads(about["initial_state"]).items()}
    state = {
        name: np.full((golden["samples"], *size), first[name], np.float32)
        for name, size in given.items()
    }
    names = [output.name for output in session.get_outputs()]
    arrays = {"input": held.astype(np.float32), **state}
    results = dict(zip(names, session.run(names, arrays), strict=True))
    results["inputs"] = arrays["input"]
    hashes = {}
    for name, expected in golden["sha256"].items():
        values = results[name.replace("_", "/", 1) if name != "inputs" else name]
        kind = np.uint8 if name.startswith("spikes_") else np.float32
        bytes_ = np.ascontiguousarray(values, kind).tobytes()
        hashes[name] = hashlib.sha256(bytes_).hexdigest() == expected
    return hashes


@pytest.mark.parametrize("kind", ["conv", "residual", "shortcut"])
def test_a_file_is_checked_with_nothing_but_the_file(kind):
    graph = random_graph(np.random.default_rng(1), kind=kind)
    results = checked_by_the_file_alone(to_onnx(graph, record=True))
    assert len(results) == 2 + len(graph.spiking)
    assert all(results.values()), results


def test_another_weight_gives_other_hashes():
    graph = random_graph(np.random.default_rng(1), kind="conv")
    name = next(n for n in graph.order if isinstance(graph.nodes[n], Affine))
    node = graph.nodes[name]
    other = dataclasses.replace(node, bias=node.bias + 1.0)
    changed = graph.replace_nodes({name: other})
    assert golden_hashes(graph) != golden_hashes(changed)
    lie = to_onnx(changed, record=True)
    onnx.helper.set_model_props(
        lie, {**entries(lie), "golden": json.dumps(golden_hashes(graph))}
    )
    assert not all(checked_by_the_file_alone(lie).values())


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_are_of_eight_samples_of_every_layer(kind):
    graph = random_graph(np.random.default_rng(2), kind=kind)
    golden = golden_hashes(graph)
    assert golden["samples"] == GOLDEN_SAMPLES == 8
    layers = {f"spikes_{name}" for name in graph.spiking}
    assert set(golden["sha256"]) == {
        "inputs",
        f"membranes_{graph.readout}",
        *layers,
    }


def test_off_the_grid_there_are_none():
    graph = random_graph(np.random.default_rng(3), kind="conv", on_grid=False)
    assert golden_hashes(graph) is None
    assert entries(to_onnx(graph))["golden"] == "null"
