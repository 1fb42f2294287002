"""What is particular to ONNX Runtime; that it is exact is in test_differential too."""

import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import onnx
import pytest

import targets.simulators.onnx_runtime
from export.to_onnx import FORMS, to_onnx, write
from stars.errors import DataError, FormatError, MissingDependencyError, StarsError
from stars.graph import reference
from stars.graph.nodes import Conv2d, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.parity_check.comparison import compare
from targets.simulators.onnx_runtime import LEVELS, OnnxTarget, put_results, run_file


def wide_convolution() -> tuple[SpikingGraph, np.ndarray]:
    """A 3 x 3 convolution of large integers, which Winograd and bfloat16 get wrong."""
    rng = np.random.default_rng(0)
    conv = Conv2d(rng.integers(-127, 128, (32, 16, 3, 3)), np.zeros(32), padding=1)
    nodes = {
        "in": Input((16, 14, 14)),
        "conv": conv,
        "sum": Integrator(np.ones((32, 14, 14))),
        "out": Output(),
    }
    edges = (("in", "conv"), ("conv", "sum"), ("sum", "out"))
    graph = SpikingGraph(nodes, edges, dt=1.0, steps=2)
    return graph, rng.integers(-127, 128, (2, 20, 16, 14, 14)).astype(np.float64)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
def test_bits_depend_on_neither_optimization_nor_threads(level, threads, tmp_path):
    path = tmp_path / "net.onnx"
    cases = [wide_convolution()]
    for kind in KINDS:
        rng = np.random.default_rng(3)
        graph = random_graph(rng, kind=kind)
        cases.append((graph, random_inputs(rng, graph, 4)))
    for graph, inputs in cases:
        for form in ("scan", "unroll"):
            write(graph, path, form=form, record=True)
            trace = run_file(path, inputs, level=level, threads=threads)
            desired = reference.run(graph, inputs)
            assert_same_spikes(trace, desired)
            assert_same_membranes(trace, desired)
            assert trace.readout == desired.readout


def test_a_graph_off_the_grid_is_near_the_reference():
    rng = np.random.default_rng(4)
    graph = random_graph(rng, kind="vgg", on_grid=False)
    inputs = random_inputs(rng, graph, 5)
    trace, desired = OnnxTarget().run(graph, inputs), reference.run(graph, inputs)
    for name, membranes in desired.membranes.items():
        np.testing.assert_allclose(trace.membranes[name], membranes, atol=1e-4)


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_its_trace_free_and_on_given_spikes(
    kind, form, record, tmp_path
):
    rng = np.random.default_rng(5)
    graph = random_graph(rng, kind=kind)
    inputs = np.array(random_inputs(rng, graph, 3))
    other = reference.run(graph, inputs[:, ::-1].copy())
    write(graph, tmp_path / "net.onnx", form=form, record=record, golden=False)
    for forced in (None, other):
        trace = run_file(tmp_path / "net.onnx", inputs, forced=forced)
        desired = reference.run(graph, inputs, forced)
        assert_same_spikes(trace, desired)
        assert_same_membranes(trace, desired)


def test_the_untouched_file_says_what_its_users_get(tmp_path):
    """An output that is not what the layers make is seen, taps or no taps."""
    rng = np.random.default_rng(6)
    graph = random_graph(rng, kind="mlp")
    inputs = random_inputs(rng, graph, 3)
    model = to_onnx(graph, golden=False)
    body = model.graph.node[0].attribute[0].g
    (last,) = [n for n in body.node if list(n.output) == ["step/output"]]
    body.node.append(onnx.helper.make_node("Neg", last.input, ["step/output"]))
    body.node.remove(last)
    onnx.save(model, tmp_path / "net.onnx")
    found = compare(
        OnnxTarget(tmp_path / "net.onnx").run(graph, inputs),
        reference.run(graph, inputs),
    )
    assert found.spike_mismatches == 0
    assert found.first_divergence.node == graph.readout


@pytest.fixture
def file(tmp_path) -> Path:
    """An exported file that also outputs the trace; it takes [T, B, 1, 8, 12]."""
    graph = random_graph(np.random.default_rng(0), kind="conv")
    assert graph.shapes[graph.input] == (1, 8, 12)
    write(graph, tmp_path / "net.onnx", record=True)
    return tmp_path / "net.onnx"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("an image, a poem, anything")


def foreign(path: Path) -> None:
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


def newer(path: Path) -> None:
    model = onnx.load(path)
    (entry,) = [p for p in model.metadata_props if p.key == "stars_format"]
    entry.value = "99"
    onnx.save(model, path)


def renamed(path: Path) -> None:
    """In our format, but with another name for the reset of a layer."""
    write(random_graph(np.random.default_rng(0), kind="conv"), path)
    model = onnx.load(path)
    for operator in model.graph.node[0].attribute[0].g.node:
        operator.name = operator.name.replace("lif0:membrane", "lif0:v")
    onnx.save(model, path)


DAMAGE = {
    truncated: "not a readable ONNX file",
    emptied: "not a readable ONNX file",
    text: "not a readable ONNX file",
    Path.unlink: "not a readable ONNX file",
    foreign: "of another tool",
    newer: "format 99 of a newer stars-snn",
    renamed: "has no operator 'step/lif0:membrane'",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.items())
def test_a_file_that_cannot_be_run_is_one_clear_error(file, damage, message):
    damage(file)
    with pytest.raises(FormatError, match=message) as caught:
        run_file(file, np.zeros((2, 1, 1, 8, 12)))
    assert str(file) in str(caught.value)


BAD_INPUTS = {
    "no steps": (np.zeros((0, 2, 1, 8, 12)), "at least one step|no step"),
    "no samples": (
        np.zeros((4, 0, 1, 8, 12)),
        "at least one step|no step or no sample",
    ),
    "another shape": (np.zeros((4, 2, 1, 9, 12)), "inputs have shape"),
    "no time axis": (np.zeros((2, 1, 8, 12)), "inputs have shape"),
    "NaN": (np.full((4, 2, 1, 8, 12), np.nan), "NaN or infinity"),
    "infinity": (np.full((4, 2, 1, 8, 12), -np.inf), "NaN or infinity"),
}


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_inputs_that_cannot_be_run_are_refused(file, inputs, message):
    with pytest.raises(DataError, match=message):
        run_file(file, inputs)
    graph = random_graph(np.random.default_rng(0), kind="conv")
    with pytest.raises(DataError, match=message):
        OnnxTarget().run(graph, inputs)


def test_an_unrolled_file_refuses_another_number_of_steps(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    write(graph, tmp_path / "net.onnx", form="unroll", record=True)
    with pytest.raises(DataError, match=r"the file takes \[4, 'B'"):
        run_file(tmp_path / "net.onnx", np.zeros((3, 1, *graph.shapes["input"])))


def test_what_is_not_installed_is_named_with_its_remedy(monkeypatch):
    real = PathFinder.find_spec

    def without(name, path=None, target=None):
        return None if name == "onnxruntime" else real(name, path, target)

    assert OnnxTarget().unavailable() is None
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(PathFinder, "find_spec", without)
    reason = "onnxruntime not installed; run pip install 'stars-snn[onnx]'"
    assert OnnxTarget().unavailable() == reason
    with pytest.raises(MissingDependencyError, match="pip install 'stars-snn") as error:
        targets.simulators.onnx_runtime.onnxruntime()
    assert isinstance(error.value, StarsError)


def test_listing_the_target_imports_neither_package():
    code = (
        "import sys; from targets import table; t = table.load('onnx');"
        "assert t.unavailable() is None;"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def scan_model(path: Path) -> onnx.ModelProto:
    """An exported file as a protobuf message."""
    graph = random_graph(np.random.default_rng(3), kind="mlp")
    write(graph, path, form="scan", record=True)
    return onnx.load_model(path)


def test_tensors_in_other_files_are_refused(tmp_path):
    path = tmp_path / "net.onnx"
    model = scan_model(path)
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match="keeps tensors in other files"):
        run_file(path, np.zeros((1, 1, 1)))


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"lif0": [1, 2, 3]}'])
def test_initial_membranes_that_do_not_fit_are_refused(tmp_path, text):
    path = tmp_path / "net.onnx"
    model = scan_model(path)
    (entry,) = [p for p in model.metadata_props if p.key == "initial_state"]
    entry.value = text
    path.write_bytes(model.SerializeToString())
    (shape,) = [
        [d.dim_value or 2 for d in i.type.tensor_type.shape.dim]
        for i in model.graph.input
        if i.name == "input"
    ]
    with pytest.raises(FormatError, match="initial membranes do not fit"):
        run_file(path, np.zeros(shape))


@pytest.mark.parametrize("count", [2, 2**31 - 1, 2**62, -(2**63)])
def test_a_scan_that_reads_more_than_it_is_given_is_refused(tmp_path, count):
    path = tmp_path / "net.onnx"
    model = scan_model(path)
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (number,) = [a for a in scan.attribute if a.name == "num_scan_inputs"]
    number.i = len(scan.input) - 1 + count if count == 2 else count
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=r"\(Scan\) has num_scan_inputs"):
        run_file(path, np.zeros((1, 1, 1)))


def test_a_node_with_an_enormous_number_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    model = scan_model(path)
    model.graph.node.add(
        op_type="Flatten", input=["input"], output=["o"]
    ).attribute.add(name="axis", type=2, i=2**40)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=r"\(Flatten\) has axis 1099511627776"):
        run_file(path, np.zeros((1, 1, 1)))


def test_an_output_that_is_not_of_the_last_layer_is_refused():
    trace = Trace({}, {"sum": np.zeros((2, 3, 4))}, "sum")
    message = r"output has shape \(2, 4\), the layer 'sum'"
    with pytest.raises(FormatError, match=message):
        put_results(trace, {"output": np.zeros((2, 4))})


def test_a_step_without_an_output_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    graph = random_graph(np.random.default_rng(3), kind="mlp")
    write(graph, path, form="step")
    model = onnx.load_model(path)
    (output,) = [value for value in model.graph.output if value.name == "output"]
    model.graph.output.remove(output)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match="has no output 'output'"):
        run_file(path, random_inputs(np.random.default_rng(0), graph, 2))


def test_a_name_that_is_no_text_is_refused(tmp_path, capfd):
    path = tmp_path / "net.onnx"
    scan_model(path)
    path.write_bytes(path.read_bytes().replace(b"initial_state", b"initial_\xfftate"))
    with pytest.raises(FormatError, match="not a readable ONNX file"):
        run_file(path, np.zeros((1, 1, 1)))
    assert capfd.readouterr().out == ""
