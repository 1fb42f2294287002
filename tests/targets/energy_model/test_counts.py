"""Counts are compared with brute force and hand counts, joules with the tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from energy_graphs import chain, measured
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from stars.errors import DataError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Map,
    Neuron,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.energy_model.counts import count
from targets.energy_model.estimate import estimate
from targets.hardware.costs import (
    load_table,
)
from targets.lava.client import lava_fixed
from targets.loihi.emulator import integer_inputs


def test_three_synapses_and_two_spikes_on_paper():
    """Two input spikes meet 2 + 1 synapses; lif fires once of 2 x 2; Loihi 1 prices."""
    weight = np.array([[3.0, 0.0], [1.0, 1.0]])  # 3 synapses, one weight is zero
    graph = chain(
        Input((2,)),
        Affine(weight, np.zeros(2)),
        LIF.uniform((2,), tau=2.0, v_threshold=1.25),
        Output(),
        steps=2,
    )
    inputs = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])  # one spike of each, one a step
    counts = measured(graph, inputs)
    (connection,) = counts.connections
    assert (connection.kind, connection.synapses) == ("AC", 3)
    assert (connection.events, connection.operations) == (2, 3)
    (population,) = counts.populations
    # step 0: v' = 1.5, spikes, and 0.5; step 1: v' = 0 and 0.75
    assert (population.updates, population.active, population.spikes) == (4, 3, 1)
    assert population.ann_macs == 4
    loihi = estimate(counts, load_table("loihi1"))
    picojoules = 3 * 23.6 + 3 * 81 + 1 * 52 + 1 * 1.7
    assert loihi.joules == pytest.approx(picojoules * 1e-12, rel=1e-12)
    assert loihi.ann_joules_per_image is None
    arithmetic = estimate(counts, load_table("horowitz45"))
    assert arithmetic.joules == pytest.approx((3 * 0.9 + 4 * 5.5) * 1e-12, rel=1e-12)
    assert arithmetic.ann_joules_per_image == pytest.approx(4 * 4.6e-12, rel=1e-12)


def test_borders_strides_and_zero_weights_of_a_convolution_on_paper():
    """3 x 3 on 2 x 2 pixels, padded: every pixel meets all 4 outputs, of 8 taps lit."""
    weight = np.ones((1, 1, 3, 3))
    weight[0, 0, 1, 1] = 0
    graph = chain(
        Input((1, 2, 2)),
        Conv2d(weight, np.zeros(1), padding=1),
        Integrator(np.ones((1, 2, 2))),
        Output(),
    )
    counts = measured(graph, np.ones((1, 1, 1, 2, 2)))
    assert counts.connections[0].synapses == 4 * 3
    assert counts.connections[0].operations == 4 * 3
    assert counts.populations[0].ann_macs == 4 * 4  # zeros multiplied, padding not


def test_a_pool_is_routed_into_the_weights_that_follow():
    graph = chain(
        Input((1, 4, 4)),
        AvgPool2d((2, 2), (2, 2)),
        Flatten(),
        Affine(np.array([[1.0, 1, 1, 1], [1, 0, 0, 0]]), np.zeros(2)),
        Integrator(np.ones(2)),
        Output(),
    )
    counts = measured(graph, np.ones((1, 3, 1, 4, 4)))
    assert counts.connections[0].synapses == 16 + 4
    assert counts.connections[0].operations == 3 * 20
    assert counts.populations[0].ann_macs == 3 * 8


def chain_without_bias(graph: SpikingGraph, source: str, first: str, last: str, x):
    """The output of the chain of maps first .. last, minus its output for zeros."""
    results = []
    for value in (x, np.zeros_like(x)):
        values = {source: value}
        for name in graph.order[graph.order.index(first) :]:
            node = graph.nodes[name]
            inputs = [p for p in graph.predecessors(name) if p in values]
            if isinstance(node, Map) and inputs and name not in values:
                values[name] = node.apply(sum(values[p] for p in inputs))
        results.append(values[last])
    return results[0] - results[1]


def brute_force(graph: SpikingGraph, inputs: np.ndarray) -> list[tuple]:
    """(source, target, operations), with each value sent alone through each chain."""
    trace = reference.run(graph, inputs)
    found = []
    for target in graph.neurons:
        for last in graph.predecessors(target):
            first, source = last, last
            while isinstance(graph.nodes[source], Map):
                first, (source,) = source, graph.predecessors(source)
            values = trace.spikes.get(source, inputs)
            events = np.count_nonzero(values, axis=(0, 1)).ravel()
            size = math.prod(graph.shapes[source])
            alone = np.eye(size).reshape(size, *graph.shapes[source])
            if isinstance(graph.nodes[last], Neuron | Input):
                out = alone
            else:
                out = chain_without_bias(graph, source, first, last, alone)
            meets = np.count_nonzero(out.reshape(size, -1), axis=1)
            found.append((source, target, int(events @ meets)))
    return found


@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_equal_brute_force(kind, on_grid):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, kind=kind, on_grid=on_grid)
        inputs = np.array(random_inputs(rng, graph, 3))
        counts = measured(graph, inputs)
        found = [(c.source, c.target, c.operations) for c in counts.connections]
        assert sorted(found) == sorted(brute_force(graph, inputs))
        for connection in counts.connections:
            graded = graph.encoding is not None and connection.source == graph.input
            assert connection.kind == ("MAC" if graded else "AC")


def test_a_held_image_needs_its_first_layer_once():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv", steps=4)
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    for connection in counts.connections:
        times = 4 if connection.kind == "MAC" else 1
        assert connection.operations == times * connection.operations_held


def test_silence_costs_no_operation():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="mlp", bias=False)
    counts = measured(graph, np.zeros((4, 2, *graph.shapes[graph.input])))
    assert all(c.operations == 0 for c in counts.connections)
    assert all(p.spikes == p.active == 0 for p in counts.populations)
    energy = estimate(counts, load_table("loihi1"))
    updates = sum(p.updates for p in counts.populations)
    assert energy.joules == pytest.approx(updates * 52e-12)


def test_a_first_layer_is_mac_only_when_the_file_states_an_image_encoding():
    nodes = (Input((1, 2, 2)), Flatten(), Affine(np.ones((1, 4)), np.zeros(1)))
    nodes += (Integrator(np.ones(1)), Output())
    inputs = np.ones((1, 1, 1, 2, 2))
    for encoding, kind in ((None, "AC"), (DirectEncoding((0.5,), (0.5,)), "MAC")):
        counts = measured(chain(*nodes, encoding=encoding), inputs)
        assert counts.operations(kind) == 4


def test_nothing_counted_is_an_error():
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    with pytest.raises(DataError, match="nothing was counted"):
        count(graph, [])


def test_a_trace_of_other_inputs_is_refused():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="mlp")
    x = random_inputs(rng, graph, 3)
    with pytest.raises(DataError, match="inputs have shape"):
        count(graph, [(x[:, :2], reference.run(graph, x))])


def test_a_held_image_saves_all_but_one_step():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv", steps=4)
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    energy = estimate(counts, load_table("horowitz45"))
    saved = energy.layers[0].mac * 3 / 4
    assert (
        energy.joules - counts.images * energy.joules_per_image_held
        == pytest.approx(saved, rel=1e-9)
    )


def test_bytes_are_those_of_the_grid_or_of_float32():
    rng = np.random.default_rng(0)
    for on_grid, weight, bias, state in ((True, 1, 2, 3), (False, 4, 4, 4)):
        graph = random_graph(rng, kind="mlp", on_grid=on_grid)
        counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
        for p in counts.populations:
            assert p.weight_bytes == weight * p.weights + bias * p.biases
            assert p.state_bytes == state * p.neurons


# -- brute force on graphs that hypothesis draws


@st.composite
def convolutions(draw) -> tuple[Conv2d, tuple[int, int, int]]:
    """A convolution with some zero weights, and its input shape."""
    groups = draw(st.integers(1, 2))
    inside, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    weight = draw(
        arrays(np.int8, (out, inside // groups, *kernel), elements=st.integers(-2, 2))
    )
    pairs = [
        st.tuples(st.integers(a, b), st.integers(a, b)) for a, b in ((1, 3), (0, 2))
    ]
    stride, padding = draw(pairs[0]), draw(pairs[1])
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    node = Conv2d(weight, np.zeros(out), stride, padding, dilation, groups)
    return node, (inside, draw(st.integers(5, 7)), draw(st.integers(5, 7)))


@given(convolutions(), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_operations_of_any_convolution_are_pairs_of_spike_and_synapse(drawn, seed):
    node, shape = drawn
    size = node.output_shape(shape)
    graph = chain(Input(shape), node, Integrator(np.ones(size)), Output(), steps=2)
    spikes = np.random.default_rng(seed).random((2, 2, *shape)) < 0.4
    counts = measured(graph, spikes.astype(float))
    met = dense_products = 0
    inside, each = shape[0] // node.groups, node.weight.shape[0] // node.groups
    for o, i, j, c, m, n in np.ndindex(*size, *node.weight.shape[1:]):
        y = node.stride[0] * i + node.dilation[0] * m - node.padding[0]
        x = node.stride[1] * j + node.dilation[1] * n - node.padding[1]
        if 0 <= y < shape[1] and 0 <= x < shape[2]:
            dense_products += 1
            if node.weight[o, c, m, n] != 0:
                met += int(spikes[:, :, o // each * inside + c, y, x].sum())
    assert counts.operations("AC") == met
    assert counts.populations[0].ann_macs == 2 * dense_products


# -- messages that Lava routed


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("kind", ["vgg", "shortcut"])
def test_operations_are_what_lava_routed(kind):
    """Nonzero messages times the plan's synapses, from lava-fixed's trace."""
    rng = np.random.default_rng(7)
    graph = random_graph(rng, kind=kind)
    inputs = np.array(random_inputs(rng, graph, 4))
    plan = lower(graph)
    trace = lava_fixed().run(graph, inputs)
    messages = {plan.input_name: integer_inputs(plan, inputs), **trace.spikes}
    routed = []
    for c in plan.connections:
        x = np.broadcast_to(
            messages[c.source].reshape(-1, 4, c.weights.shape[1]),
            (4, 4, c.weights.shape[1]),
        )
        synapses = (c.weights != 0).astype(np.int64)
        routed.append(
            (c.source, c.target, int((synapses @ (x != 0).sum((0, 1))).sum()))
        )
    counts = measured(graph, inputs)
    found = [(c.source, c.target, c.operations) for c in counts.connections]
    assert sorted(found) == sorted(routed)
    assert sum(n for *_, n in routed) > 1000


def test_a_trace_of_another_graph_is_refused():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="mlp")
    other = random_graph(rng, kind="mlp")
    assert graph.shapes["lif0"] != other.shapes["lif0"]
    theirs = reference.run(other, np.zeros((4, 2, *other.shapes["input"])))
    x = np.zeros((4, 2, *graph.shapes["input"]))
    with pytest.raises(DataError, match="expected"):
        count(graph, [(x, theirs)])


def test_spikes_that_come_back_are_counted_by_hand():
    """Two neurons feed themselves through [[0, 1], [1, 1]]; four steps of input."""
    nodes = {
        "in": Input((2,)),
        "lif": LIF.uniform((2,), tau=2.0),
        "w": Affine([[0, 1], [1, 1]], [0, 0]),
        "out": Output(),
    }
    edges = (("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out"))
    graph = SpikingGraph(nodes, edges, dt=1.0, steps=4)
    # the first neuron gets 4 at step 0: spike; its spike reaches the second at step 1:
    # 0.5, then 0.25, 0.125; the second gets 4 at step 3: spike
    inputs = np.zeros((4, 1, 2))
    inputs[0, 0, 0] = inputs[3, 0, 1] = 4
    counts = measured(graph, inputs)
    found = {c.source: (c.synapses, c.events, c.operations) for c in counts.connections}
    assert found == {"in": (2, 2, 2), "lif": (3, 2, 3)}
    assert counts.populations[0].spikes == 2


def test_membranes_that_are_handed_on_are_no_events():
    graph = random_graph(np.random.default_rng(0), kind="neurons")
    nodes = {n: v for n, v in graph.nodes.items() if n not in ("delay0", "delay1")}
    edges = tuple(
        (a, b.replace("delay0", "fc1").replace("delay1", "fc3"))
        for a, b in graph.edges
        if not a.startswith("delay")
    )
    graph = SpikingGraph(nodes, edges, graph.dt, graph.steps)
    with pytest.raises(UnsupportedNodeError, match=r"but \['li'\] send their"):
        measured(graph, np.zeros((4, 1, 6)))
