"""State-forced runs: only the layer that makes an error counts it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets import table
from targets.inputs import ArrayInputs
from targets.parity_check.forced import FORCED
from targets.parity_check.lane import Options
from targets.parity_check.run import run_parity


def drawn(kind: str, seed: int = 3) -> tuple[SpikingGraph, Array, Trace]:
    """A graph, inputs, and a trace of other inputs, hence with other spikes."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind)
    inputs = np.array(random_inputs(rng, graph, 4))
    return graph, inputs, reference.run(graph, inputs[:, ::-1].copy())


@pytest.mark.parametrize("name", ["norse", "onnx", "loihi"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_runs_on_the_spikes_that_it_is_given(kind, name):
    graph, inputs, given = drawn(kind)
    trace = FORCED[name](table.load(name), graph, inputs, given)
    desired = reference.run(graph, inputs, given)
    assert_same_spikes(trace, desired)
    assert_same_membranes(trace, desired)
    free = reference.run(graph, inputs)
    last = graph.readout
    assert (desired.membranes[last] != free.membranes[last]).any()


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("name", ["lava-float", "lava-fixed"])
def test_lava_runs_all_layers_side_by_side(name):
    graph, inputs, given = drawn("shortcut")
    trace = FORCED[name](table.load(name), graph, inputs, given)
    desired = reference.run(graph, inputs, given)
    assert_same_spikes(trace, desired)
    assert_same_membranes(trace, desired)


def test_the_reference_on_its_own_spikes_is_itself():
    graph, inputs, _ = drawn("residual")
    desired = reference.run(graph, inputs)
    assert_same_membranes(reference.run(graph, inputs, desired), desired)


@pytest.mark.parametrize("name", ["norse", "onnx", "loihi"])
def test_an_error_stays_in_its_layer_where_a_free_run_spreads_it(name):
    graph, inputs, _ = drawn("residual")
    node = graph.nodes["block0_conv0"]
    other = graph.replace_nodes({"block0_conv0": replace(node, bias=node.bias + 0.5)})
    report = run_parity(
        graph,
        ArrayInputs(inputs),
        [table.load(name)],
        Options(substitutes={name: other}, forced_images=3),
    )
    (target,) = report.targets
    forced = target.state_forced
    assert not target.ok
    assert forced.images == 3
    assert {n.node for n in forced.layers if n.membrane_mismatches} == {"block0_lif0"}
    assert sum(n.membrane_mismatches > 0 for n in target.layers) > 1
    assert target.first_divergence.node == forced.first_divergence.node == "block0_lif0"


def test_a_target_without_such_a_run_says_so_and_is_not_counted_as_right():
    graph, inputs, _ = drawn("mlp")

    class Theirs:
        name, chunk, description = "theirs", 4, "of another distribution"

        def unavailable(self):
            return None

        def run(self, graph, inputs):
            return reference.run(graph, inputs)

    report = run_parity(graph, ArrayInputs(inputs), [Theirs()])
    (target,) = report.targets
    assert target.ok
    assert not target.state_forced.ran
    said = target.to_json()["state_forced"]
    assert said == {
        "ran": False,
        "reason": "this target cannot feed its layers with given spikes",
    }
