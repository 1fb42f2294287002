"""The helpers that every other comparison rests on."""

from __future__ import annotations

import numpy as np
import pytest

from stars.errors import ConfigError
from stars.graph import reference
from stars.graph.trace import Trace
from stars.grid.certificate import certify
from stars.grid.quantization import is_on_grid
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import FREE_KINDS, KINDS
from stars.testing.random_graphs import random_graph, random_images, random_inputs


@pytest.mark.parametrize("on_grid", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_population_of_a_random_graph_fires_at_a_healthy_rate(kind, on_grid):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng, kind=kind, on_grid=on_grid)
        trace = reference.run(graph, random_inputs(rng, graph, 32))
        for name, rate in trace.rates().items():
            assert 0.05 <= rate <= 0.5, (seed, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_on_the_grid_is_certified_and_one_off_it_is_not(kind):
    graph = random_graph(np.random.default_rng(0), kind=kind)
    assert certify(graph).ok
    graph = random_graph(np.random.default_rng(0), kind=kind, on_grid=False)
    assert not is_on_grid(graph)


@pytest.mark.parametrize("kind", FREE_KINDS)
def test_what_has_no_plan_is_not_certified_and_says_why(kind):
    graph = random_graph(np.random.default_rng(0), kind=kind)
    certificate = certify(graph)
    assert not certificate.ok
    assert "no integer form for" in certificate.verdict
    rates = reference.run(
        graph, random_inputs(np.random.default_rng(1), graph, 32)
    ).rates()
    assert all(0.02 <= rate <= 0.6 for rate in rates.values())


def test_one_seed_makes_one_graph():
    first, again, other = (random_graph(np.random.default_rng(s)) for s in (5, 5, 6))
    assert first == again
    assert first != other


def test_options_are_kept():
    rng = np.random.default_rng(0)
    graph = random_graph(
        rng, kind="mlp", steps=7, dt=2.0**-8, bias=False, decay_shift=2
    )
    assert (graph.steps, graph.dt) == (7, 2.0**-8)
    assert (graph.nodes["lif0"].tau == 2.0**-6).all()
    assert not graph.nodes["fc0"].bias.any()
    with pytest.raises(ConfigError, match="kind is 'gru'; there are mlp"):
        random_graph(rng, kind="gru")


def test_residual_graphs_have_branches_that_meet():
    graph = random_graph(np.random.default_rng(0), kind="residual")
    assert ("lif0", "block0_lif1") in graph.edges
    graph = random_graph(np.random.default_rng(0), kind="shortcut")
    assert len(graph.predecessors("block1_lif1")) == 2


def test_inputs_are_encoded_images_or_spikes():
    rng = np.random.default_rng(0)
    spikes = random_inputs(rng, random_graph(rng, kind="mlp"), 64)
    assert set(np.unique(spikes)) == {0, 1}
    graph = random_graph(rng, kind="conv")
    held = random_inputs(rng, graph, 2, steps=9)
    assert held.shape == (9, 2, *graph.shapes["input"])
    images = random_images(rng, 2, (1, 4, 4))
    assert (images.dtype, images.shape) == (np.uint8, (2, 1, 4, 4))


def trace_of(spikes):
    arrays = {name: np.array(values, bool) for name, values in spikes.items()}
    return Trace(arrays, {"readout": np.zeros((2, 1, 1))}, "readout")


SPIKES = {"a": [[[0, 1]], [[1, 1]]], "b": [[[0, 0]], [[1, 0]]]}


def test_equal_spikes_pass():
    assert_same_spikes(trace_of(SPIKES), trace_of(SPIKES))


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (SPIKES | {"b": [[[0, 1]], [[1, 0]]]}, r"'b', step 0, sample 0, neuron \(1,\)"),
        (
            {"a": [[[0, 1]], [[0, 1]]], "b": [[[1, 0]], [[1, 0]]]},
            r"'b', step 0.*True, expected False \(1 of 4",
        ),
        (
            {"a": [[[0, 1]], [[0, 1]]], "b": [[[0, 0]], [[0, 0]]]},
            r"'a', step 1, sample 0, neuron \(0,\)",
        ),
        ({"a": SPIKES["a"]}, r"nodes \['a'\], expected \['a', 'b'\]"),
        (SPIKES | {"b": [[[0, 0, 0]], [[1, 0, 0]]]}, r"'b' have shape \(2, 1, 3\)"),
    ],
)
def test_the_first_divergence_is_named(actual, message):
    with pytest.raises(AssertionError, match=message):
        assert_same_spikes(trace_of(actual), trace_of(SPIKES))


def test_membranes_differ_in_the_last_bit_only():
    left = Trace({}, {"v": np.zeros((1, 1, 2))}, "v")
    right = Trace({}, {"v": np.array([[[0.0, np.nextafter(0, 1)]]])}, "v")
    with pytest.raises(AssertionError, match="membranes diverge first at node 'v'"):
        assert_same_membranes(left, right)
