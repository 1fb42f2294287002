"""Counts are held against brute force and paper; joules against the tables."""

import itertools
import math

import numpy as np
import pytest

from stars import reference
from stars.encode import DirectEncoding
from stars.errors import ConfigError, DataError, FormatError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.nodes import (
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
from stars.testing import KINDS, random_graph, random_inputs
from targets.energy import Counts, count, estimate
from targets.hardware.costs import TABLES, load_table, parse_table


def measured(graph: SpikingGraph, inputs: np.ndarray) -> Counts:
    return count(graph, [(inputs, reference.run(graph, inputs))])


def chain(*nodes, steps=1, encoding=None) -> SpikingGraph:
    names = [f"n{i}" for i in range(len(nodes))]
    edges = tuple(itertools.pairwise(names))
    return SpikingGraph(
        dict(zip(names, nodes, strict=True)), edges, 1.0, steps, encoding
    )


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
    assert loihi.total == pytest.approx(picojoules * 1e-12, rel=1e-12)
    assert loihi.ann is None
    arithmetic = estimate(counts, load_table("horowitz45"))
    assert arithmetic.total == pytest.approx((3 * 0.9 + 4 * 5.5) * 1e-12, rel=1e-12)
    assert arithmetic.ann == pytest.approx(4 * 4.6e-12, rel=1e-12)


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
    """What comes out of the chain of maps first .. last, less what zeros give."""
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
    """(source, target, operations): every value alone through every chain."""
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
    assert energy.total == pytest.approx(updates * 52e-12)


@pytest.mark.parametrize("table", TABLES)
def test_energy_adds_up_over_layers_and_over_chunks(table):
    rng = np.random.default_rng(3)
    graph = random_graph(rng, kind="residual")
    inputs = np.array(random_inputs(rng, graph, 5))
    whole = measured(graph, inputs)
    parts = [inputs[:, :2], inputs[:, 2:]]
    assert count(graph, [(x, reference.run(graph, x)) for x in parts]) == whole
    energy = estimate(whole, load_table(table))
    assert energy.total == sum(layer.total for layer in energy.layers)
    assert all(layer.total > 0 for layer in energy.layers)
    apart = [estimate(measured(graph, x), load_table(table)).total for x in parts]
    assert sum(apart) == pytest.approx(energy.total, rel=1e-12)


def test_energy_is_linear_in_spikes():
    graph = chain(
        Input((8,)),
        Affine(np.ones((5, 8)), np.zeros(5)),
        Integrator(np.ones(5)),
        Output(),
    )
    table = load_table("loihi1")
    joules = []
    for lit in range(9):
        inputs = (np.arange(8) < lit).astype(float).reshape(1, 1, 8)
        joules.append(estimate(measured(graph, inputs), table).layers[0].ac)
    np.testing.assert_allclose(np.diff(joules), 5 * 23.6e-12)


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


# -- cost tables


@pytest.mark.parametrize("name", TABLES)
def test_every_bundled_number_has_a_source(name):
    table = load_table(name)
    assert table.name == name
    for cost in (table.ac, table.mac, table.update_active, table.update_inactive):
        assert cost.joules > 0
        assert cost.source


def test_an_unknown_table_lists_those_that_there_are():
    with pytest.raises(ConfigError, match="there are loihi1, horowitz45"):
        load_table("loihi9")


COST = '[costs.{}]\npicojoules = {}\nsource = "{}"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "cost table 'mine'"),
        ("", "KeyError"),
        (COST.format("ac", 1, "x"), "KeyError"),
        ('name="n"\ntitle="t"\nabout="a"\n' + COST.format("ac", 1, "x"), "missing"),
        ('name="n"\ntitle="t"\nabout="a"\n' + COST.format("ax", 1, "x"), "unknown"),
        ('name="n"\ntitle="t"\nabout="a"\n' + COST.format("ac", -1, "x"), r"\['ac'\]"),
        ('name="n"\ntitle="t"\nabout="a"\n' + COST.format("ac", 1, ""), r"\['ac'\]"),
    ],
)
def test_a_damaged_table_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        parse_table(text, "mine")


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
    # .5, then .25, .125; the second gets 4 at step 3: spike
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
    with pytest.raises(UnsupportedNodeError, match=r"but \['li'\] hand on their"):
        measured(graph, np.zeros((4, 1, 6)))
