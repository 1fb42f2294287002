"""The taps of a file that a simplifier has rewritten."""

import numpy as np
import onnx
import pytest

from export.to_onnx import FORMS, write
from stars.graph import reference
from stars.testing.kinds import ALL_KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.simulators.onnx_runtime import run_file


def simplified(graph):
    """Remove every Identity, as onnxsim does: its input gets the name of its output."""
    for operator in list(graph.node):
        for attribute in operator.attribute:
            if attribute.name == "body":
                simplified(attribute.g)
    outputs = {value.name for value in graph.output}
    produced = {name for operator in graph.node for name in operator.output}
    for operator in [o for o in graph.node if o.op_type == "Identity"]:
        (old,), (new,) = operator.input, operator.output
        if new in outputs and (old in outputs or old not in produced):
            continue  # two outputs share the value, or it is an input
        keep, drop = (new, old) if new in outputs else (old, new)
        graph.node.remove(operator)
        for other in graph.node:
            for names in (other.input, other.output):
                names[:] = [keep if name == drop else name for name in names]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_simplified_file_gives_every_layer_free_and_forced(kind, form, tmp_path):
    graph = random_graph(np.random.default_rng(3), kind=kind)
    write(graph, tmp_path / "net.onnx", form=form, golden=False)
    model = onnx.load(tmp_path / "net.onnx")
    simplified(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "net.onnx")
    inputs = random_inputs(np.random.default_rng(4), graph, 2)
    want = reference.run(graph, inputs)
    for forced in (None, want):
        found = run_file(tmp_path / "net.onnx", inputs, forced=forced)
        assert found.spikes.keys() == want.spikes.keys()
        for name, spikes in want.spikes.items():
            np.testing.assert_array_equal(found.spikes[name], spikes)
        assert found.membranes.keys() == want.membranes.keys()
        for name, membranes in want.membranes.items():
            np.testing.assert_array_equal(found.membranes[name], membranes)


@pytest.mark.parametrize("kind", ["recurrent", "residual"])
def test_forced_spikes_reach_every_reader_of_a_simplified_file(kind, tmp_path):
    graph = random_graph(np.random.default_rng(3), kind=kind)
    inputs = random_inputs(np.random.default_rng(4), graph, 2)
    trace = reference.run(graph, inputs)
    for name in trace.spikes:  # another run's spikes, which no state can hide
        trace.spikes[name][:] = ~trace.spikes[name]
    want = reference.run(graph, inputs, forced=trace)
    write(graph, tmp_path / "net.onnx", golden=False)
    model = onnx.load(tmp_path / "net.onnx")
    simplified(model.graph)
    onnx.save(model, tmp_path / "net.onnx")
    found = run_file(tmp_path / "net.onnx", inputs, forced=trace)
    for name, membranes in want.membranes.items():
        np.testing.assert_array_equal(found.membranes[name], membranes)
