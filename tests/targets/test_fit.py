"""Fit: placements counted again by brute force, and every limit tried at its edge."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array

from stars.errors import ConfigError, FormatError, GraphError, LimitError
from stars.graph import SpikingGraph
from stars.nodes import LIF, Affine, Input, Integrator, Output
from stars.testing import KINDS, random_graph
from targets.fit import FitReport, fit
from targets.hardware.limits import (
    CHIPS,
    LIMITS,
    ChipLimits,
    Limit,
    load_limits,
    parse_limits,
)
from targets.placement import (
    Layer,
    axon_bits,
    cores_with_shared_kernels,
    place_layer,
    place_layers,
)

DT = 2.0**-10
ROOMY = 10**9


def chip(**changes: int) -> ChipLimits:
    """A chip that holds anything, but for what is named."""
    values = {**dict.fromkeys(LIMITS, ROOMY), **changes}
    limits = {name: Limit(value, "this test") for name, value in values.items()}
    return ChipLimits("test", "test chip", "", limits)


def dense(*shape: int) -> Layer:
    """Every neuron fed by every source, one synapse each."""
    return Layer("dense", shape[0], {"in": csr_array(np.ones(shape, np.int64))})


def pairs(size: int) -> Layer:
    """Neuron i is fed by sources i and i + 1."""
    matrix = np.eye(size, size + 1, dtype=np.int64)
    return Layer("pairs", size, {"in": csr_array(matrix + np.roll(matrix, 1, axis=1))})


def sizes(layer: Layer, fed: int = 0, **limits: int) -> list[int]:
    """Neurons of each core, when every neuron feeds `fed` cores."""
    cores, _ = place_layer(layer, np.full(layer.size, fed), chip(**limits))
    return [core.neurons for core in cores]


# --- memory and placement, by hand ---


def test_memory_of_an_axon_by_hand():
    """1024 compartments: 8 + 10 bits a synapse, 10 a block of 64, words of 64 bits."""
    bits = axon_bits(129, delay=0, compartments=1024)
    assert bits[[0, 1, 2, 3, 4]].tolist() == [0, 64, 64, 64, 128]
    assert bits[64] == 64 * 19  # 1162 bits
    assert bits[65] == 64 * 19 + 64
    assert bits[129] == 2 * 64 * 19 + 64
    assert axon_bits(3, delay=62, compartments=1024)[3] == 128  # 24 bits a synapse


def test_a_core_takes_as_many_neurons_as_each_limit_allows():
    assert sizes(dense(10, 3), compartments_per_core=4) == [4, 4, 2]
    assert sizes(pairs(5), input_axons_per_core=3) == [2, 2, 1]
    assert sizes(dense(5, 3), fed=2, output_axons_per_core=4) == [2, 2, 1]
    # two neurons: 3 axons of one word each, 3 neurons: b = 8 + 3, 33 + 10 bits as well
    assert sizes(dense(5, 3), synapse_bits_per_core=3 * 64 - 1) == [1] * 5
    assert sizes(dense(5, 3), synapse_bits_per_core=3 * 64) == [4, 1]


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("input_axons_per_core", 3),
        ("output_axons_per_core", 2),
        ("synapse_bits_per_core", 192),
    ],
)
def test_a_neuron_too_large_for_a_core_is_named_and_one_just_fitting_is_not(
    limit: str, value: int
):
    layer, fed = dense(5, 3), np.full(5, 2)
    cores, excess = place_layer(layer, fed, chip(**{limit: value}))
    assert excess == ()
    cores, (found,) = place_layer(layer, fed, chip(**{limit: value - 1}))
    assert (found.limit, found.value, found.neurons) == (limit, value, 5)
    assert [core.neurons for core in cores] == [1] * 5


def test_output_axons_are_pairs_of_a_neuron_and_a_core_that_it_feeds():
    first = Layer("first", 4, {"in": csr_array(np.eye(4, dtype=np.int64))})
    matrix = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1]])
    second = Layer("second", 3, {"first": csr_array(matrix)})
    cores, _ = place_layers([first, second], chip(compartments_per_core=2))
    assert [(c.node, c.first, c.neurons) for c in cores] == [
        ("first", 0, 2),
        ("first", 2, 2),
        ("second", 0, 2),
        ("second", 2, 1),
    ]
    assert [c.output_axons for c in cores] == [1 + 2, 0 + 1, 0, 0]
    assert [c.input_axons for c in cores] == [2, 2, 2, 2]


def test_shared_kernels_are_stored_once_a_channel_and_core():
    """Nine synapses of 8 + 4 bits and a header: 118 bits, two words."""
    one = chip(synapse_bits_per_core=128)
    assert cores_with_shared_kernels(12, 3, 9, 0, one) == 3
    two = chip(synapse_bits_per_core=2 * 128)
    assert cores_with_shared_kernels(12, 3, 9, 0, two) == 2
    assert cores_with_shared_kernels(12, 3, 9, 0, chip(compartments_per_core=5)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_every_neuron_is_placed_once_and_every_core_recounted_is_within_its_limits(
    kind: str,
):
    graph = random_graph(np.random.default_rng(1), kind=kind)
    limits = chip(
        compartments_per_core=50,
        input_axons_per_core=90,
        output_axons_per_core=110,
        synapse_bits_per_core=9000,
    )
    report = fit(graph, limits)
    assert report == fit(graph, limits)
    for layer in report.layers:
        cores = [core for core in report.placement if core.node == layer.node]
        ends = [core.first + core.neurons for core in cores]
        assert [0, *ends[:-1]] == [core.first for core in cores]
        assert ends[-1] == layer.neurons
    exceeded = {violation.limit for violation in report.violations}
    for core in report.placement:
        assert core.neurons <= 50
        if core.neurons > 1:
            assert core.input_axons <= 90
            assert core.output_axons <= 110
            assert core.synapse_bits <= 9000
        elif core.input_axons > 90:
            assert "input_axons_per_core" in exceeded
    small = kind in ("mlp", "conv1d")  # every layer fits one core
    assert report.cores > len(report.layers) or small


def test_axons_are_those_of_the_reference_graph():
    """A dense layer on an image: each pixel is an input axon of each core."""
    graph = random_graph(np.random.default_rng(2), kind="flat")
    pixels = int(np.prod(graph.shapes["input"]))
    report = fit(graph, chip(compartments_per_core=5))
    first = [core for core in report.placement if core.node == "lif0"]
    assert [core.neurons for core in first] == [5, 5, 2]
    weight = graph.nodes["fc0"].weight
    for core in first:
        part = weight[core.first : core.first + core.neurons]
        assert core.input_axons == np.count_nonzero((part != 0).any(axis=0)) <= pixels
        assert core.output_axons == core.neurons  # the readout is in one core
    assert report.layers[0].synapses == np.count_nonzero(weight)


# --- registers, at their edges ---


@pytest.fixture(scope="module")
def residual() -> SpikingGraph:
    return random_graph(np.random.default_rng(3), kind="residual")


@pytest.fixture(scope="module")
def needs(residual: SpikingGraph) -> dict[str, int]:
    """The largest need of any layer, by the name of its limit."""
    report: FitReport = fit(residual, chip())
    names = report.layers[0].needs
    found = {n: max(layer.needs[n] for layer in report.layers) for n in names}
    assert residual.encoding is not None
    low = residual.encoding.levels().min()
    assert -64 < low < -31  # six bits and the sign
    return {**found, "input_bits": 7}


REGISTERS = [name for name in LIMITS if not name.endswith(("_core", "_chip"))]


@pytest.mark.parametrize("name", REGISTERS)
def test_what_is_exactly_at_a_limit_passes_and_one_more_fails(
    name: str, residual: SpikingGraph, needs: dict[str, int]
):
    need = needs[name]
    assert fit(residual, chip(**{name: need})).ok
    report = fit(residual, chip(**{name: need - 1}))
    assert {v.limit for v in report.violations} == {name}
    for violation in report.violations:
        assert violation.value is not None
        assert violation.value > need - 1 == violation.allowed
        assert violation.source == "this test"
        assert violation.node in residual.nodes


def test_every_violation_is_there_at_once(
    residual: SpikingGraph, needs: dict[str, int]
):
    tight = {n: needs[n] - 1 for n in REGISTERS} | {"input_axons_per_core": 2}
    report = fit(residual, chip(**tight))
    assert {v.limit for v in report.violations} == set(tight)
    with pytest.raises(LimitError) as caught:
        report.require()
    assert len(caught.value.violations) == len(report.violations) > 12


def neuron(weight: float, bias: float = 0.0, **changes: float) -> SpikingGraph:
    nodes = {
        "in": Input((1,)),
        "fc": Affine([[weight]], [bias]),
        "lif": LIF.uniform((1,), **({"tau": 2 * DT} | changes)),
        "dense": Affine([[1.0]], [0.0]),
        "readout": Integrator(np.full(1, 1 / DT)),
        "out": Output(),
    }
    return SpikingGraph(nodes, tuple(pairwise(nodes)), DT, 4)


def test_registers_by_hand():
    """Steps of 2^-1 volts: weight 127 goes as 254, threshold 2000, bias 4095."""
    graph = neuron(127.0, 4095.0, v_threshold=1000.0)
    found = fit(graph, load_limits("loihi1"))
    assert found.ok
    assert found.layers[0].needs == {
        "weight_bits": 9,
        "weight_exponent": -1,
        "delay": 0,
        "threshold_bits": 11,
        "bias_bits": 13,
        "bias_exponent": 6,
        "accumulator_bits": 14,
    }
    assert found.to_json()["synapses"] == 2
    assert (found.cores, found.chips(found.cores)) == (2, 1)


def test_a_bias_and_a_weight_one_step_beyond_are_violations_of_the_chip():
    beyond = fit(neuron(257.0, 4097.0), load_limits("loihi1"))
    assert {v.limit: v.value for v in beyond.violations} == {
        "weight_bits": 11,
        "bias_bits": 14,
    }


def test_what_the_neuron_model_cannot_be_is_a_violation_too():
    report = fit(neuron(1.0, tau=3 * DT), chip())
    (violation,) = report.violations
    assert (violation.node, violation.limit) == ("lif", "neuron model")
    assert "--round-decay" in violation.text


def test_a_graph_off_the_grid_is_refused_with_the_command_that_mends_it():
    with pytest.raises(GraphError, match="'stars quantise' puts it there"):
        fit(neuron(0.1), chip())


def test_chips_are_filled_in_order(residual: SpikingGraph):
    report = fit(residual, chip(compartments_per_core=20, cores_per_chip=7))
    assert report.chips(7) == 1
    assert report.chips(8) == 2
    placement = report.to_json()["placement"]
    assert [row["chip"] for row in placement] == [i // 7 for i in range(report.cores)]
    assert report.to_json()["chips"] == -(-report.cores // 7)


# --- limits as data ---


@pytest.mark.parametrize("name", CHIPS)
def test_the_bundled_limits_are_complete_or_say_what_they_leave_out(name: str):
    limits = load_limits(name)
    assert limits.name == name
    assert set(limits.limits) | set(limits.unchecked) == set(LIMITS)
    assert all(limit.source for limit in limits.limits.values())


def test_what_has_no_figure_is_not_checked(residual: SpikingGraph):
    full = chip(delay=1)
    assert not fit(
        residual, replace(full, limits={**full.limits, "delay": Limit(0, "x")})
    ).ok
    without = {n: limit for n, limit in full.limits.items() if n != "delay"}
    report = fit(residual, replace(full, limits=without))
    assert report.ok
    assert report.to_json()["unchecked"] == ["delay"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "KeyError"),
        ("name = ", "not TOML"),
        ("name = " + "[" * 10_000, "nested too deeply"),
        ('name = ""\ntitle = ""\nabout = ""\n[limits.delay]\nvalue = inf', "infinity"),
        ('name = "x"\ntitle = "x"\nabout = ""\n[limits]', "missing"),
        (
            'name = "x"\ntitle = "x"\nabout = ""\n[limits.sugar]\nvalue = 1\n'
            'source = "x"',
            r"unknown \['sugar'\]",
        ),
        (
            'name = "x"\ntitle = "x"\nabout = ""\n[limits.delay]\nvalue = 0\n'
            'source = ""',
            r"without source \['delay'\]",
        ),
    ],
)
def test_a_wrong_file_of_limits_is_refused(text: str, message: str):
    with pytest.raises(FormatError, match=message):
        parse_limits(text, "mine.toml")


def test_limits_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"name = \xff")
    with pytest.raises(FormatError, match="can't decode byte 0xff"):
        load_limits("", tmp_path / "mine.toml")


def test_an_unknown_chip_is_named_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match="there are loihi1, loihi2"):
        load_limits("loihi3")
    with pytest.raises(ConfigError, match="no such file"):
        load_limits("loihi1", tmp_path / "none.toml")
