"""Counts are held against brute force and paper; joules against the tables."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from stars import reference
from stars.encode import DirectEncoding
from stars.errors import ConfigError, DataError, FormatError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.lowering import lower
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
from targets.energy_report import report
from targets.hardware.costs import (
    TABLES,
    Cost,
    Memory,
    load_table,
    parse_table,
    read_table,
)
from targets.lava.client import lava_fixed
from targets.loihi_emulator import integer_inputs
from targets.parity_report import SILENT


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
    assert table.process
    assert min(table.ac.joules, table.mac.joules) > 0
    for value in vars(table).values():
        if isinstance(value, Cost | Memory):
            assert len(value.source) > 10


def test_an_unknown_table_lists_those_that_there_are():
    with pytest.raises(ConfigError, match="there are loihi1, loihi2, spinnaker2"):
        load_table("loihi9")


TEXT = "".join(f'{name} = "mine"\n' for name in ("name", "title", "process", "about"))
COST = '[costs.{}]\npicojoules = {}\nsource = "measured"\n'
COSTS = "".join(
    COST.format(name, 1.5)
    for name in ("ac", "mac", "update_active", "update_inactive", "spike")
)
MEMORY = (
    "[memory]\nword_bytes = 4\nqueue_messages = 10\nbytes = [0, 8]\n"
    'picojoules = [0, 1]\nsource = "measured"\n'
)


def test_a_table_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT + COSTS)
    table = read_table(path)
    assert (table.name, table.ac.joules, table.bound) == ("mine", 1.5e-12, False)
    assert table.memory is table.ann_mac is None


def test_a_memory_costs_by_its_size_and_no_more_beyond_the_last():
    memory = load_table("lemaire45").memory
    words = [0, 1024, 2048, 8192, 2**18, 2**22]
    picojoules = [memory.access(n) * 1e12 for n in words]
    np.testing.assert_allclose(picojoules, [0, 5, 10, 20, 100, 100])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not TOML"),
        ("name = " + "[" * 10_000, "nested too deeply"),
        (COSTS, "no text 'name'; no text 'title'; no text 'process'"),
        (TEXT + COST.format("ac", 1), "no cost 'mac'; no cost 'update_active'"),
        (TEXT + COSTS + COST.format("ax", 1), "unknown cost 'ax'"),
        ("gas = 3\n" + TEXT + COSTS, "unknown entry 'gas'"),
        (TEXT + COSTS.replace("1.5", "-1", 1), "'ac' is -1 pJ; give a number from 0"),
        (TEXT + COSTS.replace("1.5", "nan", 1), "'ac' is nan pJ"),
        (TEXT + COSTS.replace("1.5", "inf", 1), "'ac' is inf pJ"),
        (TEXT + COSTS.replace("1.5", "1" * 400, 1), "pJ; give a number from 0"),
        (TEXT + COSTS.replace("1.5", "true", 1), "'ac' is True pJ"),
        (TEXT + COSTS.replace("1.5", "'1'", 1), "'ac' is '1' pJ"),
        (TEXT + COSTS.replace("measured", " ", 1), "'ac' has no source"),
        (TEXT + COSTS.replace("picojoules = 1.5", "", 1), "'ac' is None pJ"),
        (TEXT + "costs = 3\n", "no cost 'ac'"),
        (TEXT + COSTS + COST.format("qnn_bit", 1), "'qnn_bit' and 'qnn_add' one alone"),
        (TEXT + COSTS + MEMORY, "needs the cost 'address_ac' too"),
        (TEXT + COSTS + MEMORY.replace("[0, 8]", "[8, 0]"), "these rising"),
        (TEXT + COSTS + MEMORY.replace("[0, 1]", "[0, -1]"), "lists of numbers"),
        (TEXT + COSTS + MEMORY.replace("= 4", "= 0"), "word_bytes is 0"),
    ],
)
def test_a_damaged_table_is_refused_with_all_that_is_wrong(text, message):
    with pytest.raises(FormatError, match=r"cost table 'mine\.toml'") as error:
        parse_table(text, "mine.toml")
    assert message in str(error.value)


def test_a_table_that_is_gone_or_takes_a_bundled_name_is_refused(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_table(tmp_path / "gone.toml")
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace('name = "mine"', 'name = "loihi1"', 1) + COSTS)
    with pytest.raises(ConfigError, match="'loihi1' is that of a bundled table"):
        read_table(path)


# -- networks without spikes, and reports


def dense(inputs: int, outputs: int, steps: int) -> SpikingGraph:
    """Spikes into one dense population that has no bias and never spikes."""
    return chain(
        Input((inputs,)),
        Affine(np.ones((outputs, inputs)), np.zeros(outputs)),
        LIF.uniform((outputs,), tau=2.0, v_threshold=2.0**20),
        Affine(np.zeros((1, outputs)), np.zeros(1)),
        Integrator(np.ones(1)),
        Output(),
        steps=steps,
    )


def crossover(inputs: int, steps: int, bits: int, **scaled: float) -> float:
    """The published setting's crossover by our model: one layer, weights of `bits`.

    Args:
        inputs: fan-in.
        steps: T.
        bits: of a weight.
        scaled: factors on "sparse" and "dense" movement, and on "weight" energy.
    """
    weight = 0.0425 * scaled.get("weight", 1.0)
    yan = load_table("yan22")
    ac = 0.05448 + 3.0 * scaled.get("sparse", 1.0) + bits * weight
    prices = {
        "ac": ac,
        "qnn_bit": 0.25 * scaled.get("dense", 1.0),
        "qnn_add": bits * weight,
    }
    costs = {name: Cost(pj * 1e-12, "of this test") for name, pj in prices.items()}
    graph = chain(
        Input((inputs,)),
        Affine(np.ones((256, inputs)), np.zeros(256)),
        Integrator(np.ones(256)),
        Output(),
        steps=steps,
    )
    x = np.zeros((steps, 1, inputs))
    x[0, 0, 0] = 1.0
    found = estimate(measured(graph, x), dataclasses.replace(yan, **costs))
    return next(a.crossover for a in found.alternatives if a.name == "qnn")


def test_the_published_crossover_comes_out_of_the_model():
    """Yan et al., arXiv:2409.08290 v4: 5.7 % at T = 5, 4-bit weights, 4096 inputs.

    The energy of a weight is fitted to this one number; those below follow from it.
    """
    assert crossover(4096, 5, 4) == pytest.approx(0.057, abs=0.001)


@pytest.mark.parametrize(
    ("published", "inputs", "steps", "bits", "scaled"),
    [
        (0.104, 4096, 2, 4, {}),
        (0.123, 4096, 2, 8, {}),
        (0.082, 4096, 3, 8, {}),
        (0.054, 64, 5, 4, {}),
        (0.0341, 4096, 5, 4, {"dense": 0.5}),
        (0.1080, 4096, 5, 4, {"sparse": 0.5}),
        (0.0539, 4096, 5, 4, {"weight": 0.5}),
        (0.0608, 4096, 5, 4, {"weight": 1.5}),
    ],
)
def test_other_published_crossovers_follow(published, inputs, steps, bits, scaled):
    found = crossover(inputs, steps, bits, **scaled)
    assert found == pytest.approx(published, abs=0.0015)


def test_at_the_crossover_both_sides_need_the_same():
    rng = np.random.default_rng(2)
    graph = dense(64, 16, 4)
    table = load_table("horowitz45-int8")
    few = (rng.random((4, 5, 64)) < 0.1).astype(float)
    found = estimate(measured(graph, few), table)
    limit = next(a for a in found.alternatives if a.name == "qnn")
    assert limit.bits == math.ceil(math.log2(5)) == 3
    spikes = found.layers[0].of_spikes * limit.crossover / found.spike_rate
    fixed = found.total - found.layers[0].of_spikes
    assert spikes + fixed == pytest.approx(limit.joules, rel=1e-12)


def test_memory_of_a_dense_layer_on_paper():
    """3 spikes into 5 neurons, T = 2, Lemaire's accesses of 32-bit words."""
    graph = dense(4, 5, 2)
    x = np.zeros((2, 1, 4))
    x[0, 0, :2] = x[1, 0, 3] = 1.0
    energy = estimate(measured(graph, x), load_table("lemaire45"))
    word = 10 / 2048  # pJ for each word that a memory holds, up to 8 KB
    weight, potential = 20 * word, 5 * word
    queue = 1000 * word
    expected = (
        15 * (0.1 + weight + 2 * potential + 0.1)  # add, weight, potential, address
        + 3 * queue
        + 10 * (3.3 + 2 * potential)
    )
    assert energy.layers[0].total == pytest.approx(expected * 1e-12, rel=1e-12)
    (ann, *_) = energy.alternatives
    first = 20 * (3.2 + weight) + 4 * (4 * word) + 5 * potential + 9 * 0.1
    last = 5 * (3.2 + 5 * word) + 5 * (5 * word) + 1 * word + 6 * 0.1
    assert ann.joules == pytest.approx((first + last) * 1e-12, rel=1e-12)


@pytest.mark.parametrize("name", ["loihi1", "loihi2", "spinnaker2"])
def test_a_table_without_prices_of_an_ann_compares_with_nothing(name):
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    found = report(counts, [load_table(name)])
    assert all(a.joules is None for a in found.estimates[0].alternatives)
    assert all(a.reason for a in found.estimates[0].alternatives)
    (said,) = found.sentences()
    assert "nothing to compare with" in said


def test_a_report_is_plain_json_and_names_the_range():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    counts = measured(graph, np.array(random_inputs(rng, graph, 3)))
    found = report(counts, [load_table(name) for name in TABLES])
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    joules = [one["joules_per_image"] for one in said["estimates"]]
    assert said["range"]["joules_per_image"] == [min(joules), max(joules)]
    assert len(said["sentences"]) == len(TABLES)
    assert said["warnings"] == []
    assert said["teacher"]["known"] is False
    assert 0 < said["counts"]["spike_rate"] < 1


def test_silence_is_warned_of():
    graph = dense(4, 5, 2)
    counts = measured(graph, np.zeros((2, 1, 4)))
    found = report(counts, [load_table("horowitz45-int8")])
    assert found.warnings == [SILENT]
    assert "no spike to make fewer of" in found.sentences()[0]


def test_a_held_image_saves_all_but_one_step():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv", steps=4)
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    energy = estimate(counts, load_table("horowitz45"))
    saved = energy.layers[0].mac * 3 / 4
    assert energy.total - energy.held == pytest.approx(saved, rel=1e-9)


def test_bytes_are_those_of_the_grid_or_of_float32():
    rng = np.random.default_rng(0)
    for on_grid, weight, bias, state in ((True, 1, 2, 3), (False, 4, 4, 4)):
        graph = random_graph(rng, kind="mlp", on_grid=on_grid)
        counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
        for p in counts.populations:
            assert p.weight_bytes == weight * p.weights + bias * p.biases
            assert p.state_bytes == state * p.neurons


# -- pooled-dense


def test_the_two_lowerings_of_a_pool_on_paper():
    """4 x 4 spikes, pooled 2 x 2, then 2 outputs of 4 and 1 weights."""
    graph = chain(
        Input((1, 4, 4)),
        AvgPool2d((2, 2), (2, 2)),
        Flatten(),
        Affine(np.array([[1.0, 1, 1, 1], [1, 0, 0, 0]]), np.zeros(2)),
        Integrator(np.ones(2)),
        Output(),
    )
    x = np.zeros((1, 1, 1, 4, 4))
    x[..., 0, 0] = x[..., 1, 1] = x[..., 3, 3] = 1  # two windows of four are lit
    counts = measured(graph, x)
    assert counts.operations("AC") == 2 + 2 + 1
    assert counts.spikes_per_synapse == 5 / (16 + 4)
    assert counts.spike_rate == 3 / 16
    pool, weights = counts.pooled_dense
    assert (pool.kind, pool.events, pool.operations) == ("AC", 3, 3)
    assert (weights.kind, weights.events, weights.operations) == ("MAC", 2, 2 + 1)
    assert pool.target == weights.target == "n4"


def test_without_a_pool_there_is_one_lowering():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    assert counts.pooled_dense is None
    assert estimate(counts, load_table("loihi1")).pooled_dense is None


def test_a_pool_behind_weights_adds_up_every_value():
    graph = chain(
        Input((1, 4, 4)),
        Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1)),
        AvgPool2d((2, 2), (2, 2)),
        Integrator(np.ones((1, 2, 2))),
        Output(),
        steps=3,
    )
    counts = measured(graph, np.zeros((3, 2, 1, 4, 4)))
    conv, pool = counts.pooled_dense
    assert (conv.kind, conv.operations) == ("AC", 0)
    assert (pool.kind, pool.operations) == ("AC", 3 * 2 * 16)


# -- brute force on graphs of hypothesis' own


@st.composite
def convolutions(draw) -> tuple[Conv2d, tuple[int, int, int]]:
    """A convolution with zeros among its weights, and the shape it takes."""
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


# -- what the simulator of the chip routed


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("kind", ["vgg", "shortcut"])
def test_operations_are_what_lava_routed(kind):
    """Messages that are not zero times the plan's synapses, from lava-fixed's trace."""
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
