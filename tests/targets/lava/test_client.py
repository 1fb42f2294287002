"""Real Lava against the reference: every layer's spikes and membranes, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from stars.errors import DataError, GraphError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Conv2d
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.lava.client import LavaTarget, lava_fixed, lava_float
from targets.loihi.emulator import emulate

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]

TARGETS = pytest.mark.parametrize("make", [lava_fixed, lava_float])
SAMPLES = 6


def weight_nodes(graph: SpikingGraph) -> list[str]:
    return [n for n in graph.order if isinstance(graph.nodes[n], Affine | Conv2d)]


def one_step_off(graph: SpikingGraph, name: str) -> SpikingGraph:
    """`graph` with one weight of node `name` moved by one step of its grid."""
    node = graph.nodes[name]
    assert isinstance(node, Affine | Conv2d)
    weight = node.weight.copy()
    step = np.abs(weight[weight != 0]).min()
    while (weight % step != 0).any():
        step /= 2
    place = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    weight[place] -= step * np.sign(weight[place])
    return graph.replace_nodes({name: replace(node, weight=weight)})


@TARGETS
@pytest.mark.parametrize("kind", KINDS)
def test_lava_equals_the_reference(kind: str, make: Callable[[], LavaTarget]) -> None:
    rng = np.random.default_rng(sum(kind.encode()))
    graph = random_graph(rng, kind=kind)
    inputs = random_inputs(rng, graph, SAMPLES)
    expected = reference.run(graph, inputs)
    rates = expected.rates()
    assert min(rates.values()) > 0.01, f"silence proves nothing: {rates}"
    trace = make().run(graph, inputs)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)
    assert trace.readout == graph.readout


@TARGETS
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_other_lengths_of_input(steps: int, make: Callable[[], LavaTarget]) -> None:
    """Resets are aligned to the samples for every T, even if the pipeline is deeper."""
    rng = np.random.default_rng(steps)
    graph = random_graph(rng, kind="residual", steps=steps)
    inputs = random_inputs(rng, graph, SAMPLES)
    expected = reference.run(graph, inputs)
    trace = make().run(graph, inputs)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


@TARGETS
def test_a_weight_off_by_one_grid_step_is_seen(make: Callable[[], LavaTarget]) -> None:
    rng = np.random.default_rng(5)
    graph = random_graph(rng, kind="shortcut")
    inputs = random_inputs(rng, graph, SAMPLES)
    first = weight_nodes(graph)[0]
    trace = make().run(one_step_off(graph, first), inputs)
    with pytest.raises(AssertionError, match="membranes diverge first at node 'lif0'"):
        assert_same_membranes(trace, reference.run(graph, inputs))


def test_fixed_equals_the_emulator_where_the_reference_ends() -> None:
    """k = 1/4 and T = 12: the chip truncates, so the two agree only with each other."""
    rng = np.random.default_rng(14)
    graph = random_graph(rng, kind="shortcut", steps=12, decay_shift=2)
    inputs = random_inputs(rng, graph, SAMPLES)
    trace = lava_fixed().run(graph, inputs)
    expected = emulate(lower(graph), inputs)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)
    with pytest.raises(AssertionError, match="membranes diverge"):
        assert_same_membranes(trace, reference.run(graph, inputs))


@TARGETS
def test_a_reset_to_another_voltage_than_zero(make: Callable[[], LavaTarget]) -> None:
    rng = np.random.default_rng(15)
    graph = random_graph(rng, kind="residual")
    raised = {
        name: LIF.uniform(
            graph.shapes[name], tau=2 * graph.dt, v_leak=0.25, v_reset=0.25
        )
        for name in graph.spiking
    }
    graph = graph.replace_nodes(raised)
    inputs = random_inputs(rng, graph, SAMPLES)
    expected = reference.run(graph, inputs)
    assert min(expected.rates().values()) > 0.01
    trace = make().run(graph, inputs)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


def test_inputs_differ_from_step_to_step() -> None:
    rng = np.random.default_rng(6)
    graph = random_graph(rng, kind="mlp")
    inputs = random_inputs(rng, graph, 3)
    assert (inputs[0] != inputs[1]).any()
    assert_same_membranes(lava_fixed().run(graph, inputs), reference.run(graph, inputs))


def test_refuses_a_graph_off_the_grid() -> None:
    rng = np.random.default_rng(7)
    graph = random_graph(rng, kind="mlp", on_grid=False)
    with pytest.raises(GraphError, match="grid"):
        lava_fixed().run(graph, random_inputs(rng, graph, 2))


def test_refuses_inputs_off_the_grid() -> None:
    rng = np.random.default_rng(8)
    graph = random_graph(rng, kind="conv")
    inputs = random_inputs(rng, graph, 2) + 2.0**-9
    with pytest.raises(DataError, match="allowed are multiples"):
        lava_fixed().run(graph, inputs)


def test_a_target_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("STARS_LAVA_ENV", f"{tmp_path}/nothing")
    assert "stars lava setup" in (lava_fixed().unavailable() or "")
    monkeypatch.undo()
    assert lava_fixed().unavailable() is None
