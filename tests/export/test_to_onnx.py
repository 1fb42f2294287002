"""ONNX files: what is in them, and that plain onnxruntime runs as the reference."""

import dataclasses
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from versions import older

from export.from_nir import read
from export.onnx_step import initial_states
from export.to_nir import write as write_nir
from export.to_onnx import FORMS, OPSETS, to_onnx, write
from stars.errors import (
    ConfigError,
    GraphError,
    MissingDependencyError,
    UnsupportedNodeError,
)
from stars.graph import reference
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Map,
    Node,
    Output,
    SumPool2d,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.kinds import ALL_KINDS, KINDS
from stars.testing.random_graphs import random_graph, random_inputs


def chain(shape: tuple[int, ...], *nodes: Node, steps: int = 3) -> SpikingGraph:
    """The nodes one after the other, between an input of `shape` and an output."""
    named = {"in": Input(shape), **{f"n{i}": v for i, v in enumerate(nodes)}}
    named["out"] = Output()
    names = list(named)
    edges = tuple(pairwise(names))
    return SpikingGraph(named, edges, dt=1.0, steps=steps)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run_session(session, inputs, states) -> dict[str, np.ndarray]:
    """Every output by name."""
    names = [output.name for output in session.get_outputs()]
    arrays = {"input": inputs.astype(np.float32), **states}
    return dict(zip(names, session.run(names, arrays), strict=True))


def first_states(graph: SpikingGraph, batch: int) -> dict[str, np.ndarray]:
    return {
        f"state/{name}": np.broadcast_to(state, (batch, *state.shape)).astype(
            np.float32
        )
        for name, state in initial_states(graph).items()
    }


def next_states(results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.replace("state_out/", "state/", 1): value
        for name, value in results.items()
        if name.startswith("state_out/")
    }


def run_form(graph: SpikingGraph, form: str, inputs) -> dict[str, np.ndarray]:
    """Outputs [T, B, ...] of any form, from the initial state; of states the last."""
    session = session_of(to_onnx(graph, form=form, record=True))
    states = first_states(graph, inputs.shape[1])
    if form != "step":
        return run_session(session, inputs, states)
    rows = []
    for x in inputs:
        rows.append(run_session(session, x, states))
        states = next_states(rows[-1])
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return stacked | {n: v for n, v in rows[-1].items() if n.startswith("state_out/")}


def assert_reference(graph: SpikingGraph, results, inputs) -> None:
    """Every spike, membrane and final membrane is the reference's, bit for bit."""
    desired = reference.run(graph, inputs)
    for name, spikes in desired.spikes.items():
        assert results[f"spikes/{name}"].dtype == bool
        np.testing.assert_array_equal(results[f"spikes/{name}"], spikes)
    for name, membranes in desired.membranes.items():
        np.testing.assert_array_equal(results[f"membranes/{name}"], membranes)
        state = results[f"state_out/{name}"]
        last = graph.neuron(name).membrane(state)
        np.testing.assert_array_equal(last, membranes[-1])


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_makes_the_references_trace(form, kind):
    rng = np.random.default_rng(5)
    graph = random_graph(rng, kind=kind)
    inputs = random_inputs(rng, graph, 3)
    assert_reference(graph, run_form(graph, form, inputs), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_five_steps_worked_by_hand(form):
    """k = 1/2, r = 2, leak -1, reset -2, input 2:  v' = v + (-1 - v + 4) / 2."""
    node = LIF.uniform((1,), tau=2.0, r=2.0, v_leak=-1.0, v_threshold=1.0, v_reset=-2.0)
    results = run_form(chain((1,), node, steps=5), form, np.full((5, 1, 1), 2.0))
    assert results["membranes/n0"].ravel().tolist() == [1.0, -2.0, 0.5, -2.0, 0.5]
    assert results["output"].ravel().tolist() == [0.0, 1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("form", FORMS)
def test_an_integrator_scales_what_it_sums(form):
    """dt r = 1/2 for the first, 2 for the second:  v' = v + dt r x."""
    graph = chain((2,), Integrator(np.array([0.5, 2.0])))
    results = run_form(graph, form, np.full((3, 1, 2), 3.0))
    sums = [[1.5, 6.0], [3.0, 12.0], [4.5, 18.0]]
    assert results["output"].tolist() == [[row] for row in sums]


# Every option of every map, with values that are not symmetric.
WEIGHT = np.arange(1.0, 49.0).reshape(4, 1, 4, 3) - 20
MAPS = {
    "grouped, strided, padded, dilated": Conv2d(
        WEIGHT[..., :2, :], np.arange(4.0), (2, 1), (2, 1), (3, 2), groups=2
    ),
    "no padding, no bias": Conv2d(
        WEIGHT.reshape(2, 2, 4, 3), np.zeros(2), stride=(1, 2)
    ),
    "sums of 49": SumPool2d((7, 7), (1, 1)),
    "overlapping sums": SumPool2d((3, 2), (2, 1)),
    "means of 4": AvgPool2d((2, 2), (2, 2)),
    "means of 2 by 4": AvgPool2d((2, 4), (3, 2)),
    "flat": Flatten(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("node", MAPS.values(), ids=MAPS)
def test_every_option_of_a_map_is_kept(node, form):
    inputs = np.random.default_rng(0).integers(-127, 128, (3, 2, 2, 9, 8)).astype(float)
    shape = node.output_shape((2, 9, 8))
    graph = chain((2, 9, 8), node, Integrator(np.ones(shape)))
    assert_reference(graph, run_form(graph, form, inputs), inputs)


def test_means_of_a_window_that_is_no_power_of_two_are_float32():
    node = AvgPool2d((3, 3), (3, 3))
    graph = chain((2, 9, 8), node, Integrator(np.ones((2, 3, 2))))
    inputs = np.random.default_rng(0).standard_normal((3, 2, 2, 9, 8))
    found = run_form(graph, "scan", inputs)["membranes/n1"]
    desired = reference.run(graph, inputs).membranes["n1"]
    np.testing.assert_allclose(found, desired, atol=1e-6)


def test_parameters_that_differ_from_neuron_to_neuron_are_kept():
    rng = np.random.default_rng(2)
    graph = random_graph(rng, kind="conv", on_grid=False)
    inputs = random_inputs(rng, graph, 3)
    desired = reference.run(graph, inputs)
    found = run_form(graph, "scan", inputs)
    for name, membranes in desired.membranes.items():
        np.testing.assert_allclose(found[f"membranes/{name}"], membranes, atol=1e-5)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"cuba"}))  # no currents in a trace
def test_off_the_grid_no_spike_differs_from_equal_states(kind):
    """From the reference's membranes at every step, so that no error is carried on."""
    rng = np.random.default_rng(6)
    graph = random_graph(rng, kind=kind, on_grid=False, steps=16)
    inputs = random_inputs(rng, graph, 8)
    desired = reference.run(graph, inputs)
    session = session_of(to_onnx(graph, form="step", record=True))
    states = first_states(graph, 8)
    for t, x in enumerate(inputs):
        results = run_session(session, x, states)
        for name, spikes in desired.spikes.items():
            np.testing.assert_array_equal(results[f"spikes/{name}"], spikes[t])
        states = {
            f"state/{name}": membranes[t].astype(np.float32)
            for name, membranes in desired.membranes.items()
        }


# -- what is free: steps, batch, chunks


def test_a_scan_takes_any_number_of_steps_and_samples():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    session = session_of(to_onnx(graph, record=True))
    for steps, batch in ((1, 1), (4, 3), (6, 2)):
        inputs = random_inputs(rng, graph, batch, steps=steps)
        results = run_session(session, inputs, first_states(graph, batch))
        assert_reference(graph, results, inputs)


@pytest.mark.parametrize("form", ["step", "unroll"])
def test_the_other_forms_take_any_batch(form):
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")
    for batch in (1, 5):
        inputs = random_inputs(rng, graph, batch)
        assert_reference(graph, run_form(graph, form, inputs), inputs)


@pytest.mark.parametrize("kind", ["residual", "recurrent", "neurons"])
@pytest.mark.parametrize("on_grid", [True, False])
def test_a_stream_in_chunks_is_one_run_bit_for_bit(on_grid, kind):
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind=kind, on_grid=on_grid)
    inputs = random_inputs(rng, graph, 2, steps=9)
    session = session_of(to_onnx(graph, record=True))
    states = first_states(graph, 2)
    whole = run_session(session, inputs, states)
    parts = []
    for chunk in np.split(inputs, [1, 5, 7]):
        parts.append(run_session(session, chunk, states))
        states = next_states(parts[-1])
    for name, value in whole.items():
        if name.startswith("state_out/"):
            np.testing.assert_array_equal(parts[-1][name], value)
        else:
            joined = np.concatenate([part[name] for part in parts])
            np.testing.assert_array_equal(joined, value)


# -- what is in the file


@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_the_full_checker_and_shape_inference_accept_every_form(
    form, on_grid, tmp_path
):
    graph = random_graph(np.random.default_rng(0), kind="shortcut", on_grid=on_grid)
    write(graph, tmp_path / "net.onnx", form=form, record=True)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert list(inferred.graph.output) == list(model.graph.output)
    assert (model.ir_version, model.opset_import[0].version) == (9, 19)


def test_only_a_file_with_record_gives_the_layers():
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    names = {o.name for o in to_onnx(graph).graph.output}
    states = {f"state_out/{name}" for name in graph.neurons}
    assert names == {"output"} | states
    more = {o.name for o in to_onnx(graph, record=True).graph.output} - names
    assert more == {f"spikes/{name}" for name in graph.spiking} | {
        f"membranes/{name}" for name in graph.neurons
    }


@pytest.mark.parametrize("form", ["scan", "step"])
def test_a_file_with_record_computes_what_the_one_without_does(form):
    """What parity runs is what ships, and more outputs."""
    graph = random_graph(np.random.default_rng(0), kind="shortcut")
    plain, recorded = (
        step_of(to_onnx(graph, form=form, record=record)) for record in (False, True)
    )
    extra = ("spikes/", "membranes/")
    kept = [
        node
        for node in recorded.node
        if not node.output[0].removeprefix("step/").startswith(extra)
    ]
    assert kept == list(plain.node)
    assert len(recorded.node) > len(kept)
    assert list(recorded.initializer) == list(plain.initializer)


def step_of(model: onnx.ModelProto) -> onnx.GraphProto:
    """The body of the Scan, or the whole graph of one step."""
    (*_, last) = model.graph.node
    return last.attribute[0].g if last.op_type == "Scan" else model.graph


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """All initializers, those in the body of a Scan included."""
    bodies = [
        attribute.g
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    ]
    return {
        i.name: onnx.numpy_helper.to_array(i)
        for graph in (model.graph, *bodies)
        for i in graph.initializer
    }


def int8_tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {n: v for n, v in constants(model).items() if v.dtype == np.int8}


@pytest.mark.parametrize("form", FORMS)
def test_weights_on_the_grid_are_int8_times_a_power_of_two(form):
    graph = random_graph(np.random.default_rng(0), kind="shortcut")
    model = to_onnx(graph, form=form)
    weighted = [n for n, v in graph.nodes.items() if isinstance(v, Conv2d | Affine)]
    for name in weighted:
        integers = int8_tensors(model)[f"{name}:weight_int8"]
        scale = float(constants(model)[f"{name}:weight_scale"])
        assert np.frexp(scale)[0] == 0.5
        np.testing.assert_array_equal(integers * scale, graph.nodes[name].weight)


@pytest.mark.parametrize(
    ("integers", "exponent", "is_int8"),
    [
        ([127, -127, 1], -9, True),
        ([128, 1, 0], -9, False),
        ([127, -127, 1], -126, True),
        ([127, -127, 1], -127, False),  # the scale would be a subnormal float32
    ],
)
def test_weights_up_to_127_are_int8_and_wider_ones_float32(integers, exponent, is_int8):
    weight = np.array([integers]) * 2.0**exponent
    graph = chain((3,), Affine(weight, np.zeros(1)), Integrator(np.ones(1)))
    assert (len(int8_tensors(to_onnx(graph))) == 1) is is_int8
    inputs = np.random.default_rng(0).integers(0, 2, (3, 2, 3)).astype(float)
    assert_reference(graph, run_form(graph, "scan", inputs), inputs)


def test_a_file_of_int8_weights_is_at_most_a_third_of_one_of_float32():
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (64, 64, 3, 3)) * 2.0**-8
    on_grid = Conv2d(weight, np.zeros(64), padding=1)
    off_grid = dataclasses.replace(on_grid, weight=weight * 0.3)
    lif = LIF.uniform((64, 6, 6), tau=2.0)
    small, large = (
        to_onnx(chain((64, 6, 6), conv, lif)).ByteSize() for conv in (on_grid, off_grid)
    )
    assert small * 3 <= large


def test_the_file_explains_itself():
    graph = random_graph(np.random.default_rng(0), kind="residual")
    graph = dataclasses.replace(graph, metadata={"teacher": "mine"})
    props = {p.key: p.value for p in to_onnx(graph, form="step").metadata_props}
    assert props["form"] == "step"
    assert props["steps"] == "4"
    assert float(props["dt"]) == graph.dt
    assert "v > v_threshold" in props["reset"]
    assert json.loads(props["k"])["lif0"] == ["1/2"]
    assert json.loads(props["encoding"]) == {
        "kind": "direct",
        "mean": [0.45],
        "deviation": [0.3],
        "exponent": -5,
    }
    assert json.loads(props["initial_state"]) == dict.fromkeys(graph.neurons, 0.0)
    assert props["readout"] == "readout"
    assert json.loads(props["text"]) == {"teacher": "mine"}
    assert props["stars_format"] == "1"
    assert props["stars_version"]


def test_membranes_that_start_apart_are_told_one_by_one():
    node = dataclasses.replace(
        LIF.uniform((2,), tau=2.0), v_leak=np.array([0.25, -0.5])
    )
    props = {p.key: p.value for p in to_onnx(chain((2,), node)).metadata_props}
    assert json.loads(props["initial_state"]) == {"n0": [0.25, -0.5]}


def test_the_same_graph_makes_the_same_bytes(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="residual")
    write_nir(graph, tmp_path / "net.nir")
    write(graph, tmp_path / "a.onnx")
    write(read(tmp_path / "net.nir"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


# -- what is refused


class Doubling(Map):
    def output_shape(self, shape):
        return shape


def test_every_node_without_an_operator_is_named_and_nothing_written(tmp_path):
    graph = chain((2,), Doubling(), Doubling(), Integrator(np.ones(2)))
    with pytest.raises(
        UnsupportedNodeError, match=r"'n0': 'Doubling', 'n1': 'Doubling'.*Conv2d"
    ):
        write(graph, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_error_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    with pytest.raises(
        MissingDependencyError, match=r"pip install 'stars-snn\[onnx\]'"
    ):
        write(graph, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_form_lists_those_that_there_are(tmp_path: Path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    with pytest.raises(ConfigError, match="'loop'; there are scan, step, unroll"):
        write(graph, tmp_path / "net.onnx", form="loop")


def test_a_graph_that_ends_without_a_membrane_is_refused():
    graph = chain((2,), Affine(np.eye(2), np.zeros(2)))
    with pytest.raises(GraphError, match="no membrane"):
        to_onnx(graph)


def test_no_steps_at_all_are_refused_before_there_is_a_graph():
    with pytest.raises(GraphError, match="steps is 0"):
        chain((1,), Integrator(np.ones(1)), steps=0)


def fed(graph, inputs):
    """The inputs and first states of an exported file."""
    states = {
        f"state/{name}": np.broadcast_to(v, (inputs.shape[1], *v.shape))
        for name, v in initial_states(graph).items()
    }
    values = {"input": inputs, **states}
    return {name: value.astype(np.float32) for name, value in values.items()}


@pytest.mark.parametrize("form", ["scan", "unroll"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_reference_evaluator_of_onnx_runs_the_file(kind, form):
    if form == "scan" and older("onnx", 1, 22):
        pytest.skip("the Scan of an older ReferenceEvaluator loses the states")
    graph = random_graph(np.random.default_rng(3), kind=kind)
    inputs = random_inputs(np.random.default_rng(4), graph, 2)
    (output,) = ReferenceEvaluator(to_onnx(graph, form=form, golden=False)).run(
        ["output"], fed(graph, inputs)
    )
    trace = reference.run(graph, inputs)
    np.testing.assert_array_equal(output, trace.membranes[graph.readout])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", ["residual", "recurrent", "neurons"])
def test_every_opset_gives_the_same_bits(kind, opset):
    graph = random_graph(np.random.default_rng(3), kind=kind)
    inputs = random_inputs(np.random.default_rng(4), graph, 2)
    model = to_onnx(graph, opset=opset, golden=False)
    assert model.opset_import[0].version == opset
    (output,) = session_of(model).run(["output"], fed(graph, inputs))
    trace = reference.run(graph, inputs)
    np.testing.assert_array_equal(output, trace.membranes[graph.readout])


def test_an_opset_that_was_not_compared_is_refused():
    graph = random_graph(np.random.default_rng(3), kind="mlp")
    with pytest.raises(ConfigError, match="opset is 17; allowed are 18 to 23"):
        to_onnx(graph, opset=17)
