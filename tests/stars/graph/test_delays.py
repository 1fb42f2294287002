"""Cycles: which edges are late, by the rule, and traces of them worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stars.errors import GraphError
from stars.graph import reference
from stars.graph.nodes import LI, LIF, Affine, Delay, Input, Output, Threshold
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph, random_inputs

DT = 2.0**-10


def lif():
    """k = 1/2, threshold 1."""
    return LIF.uniform((1,), tau=2 * DT)


def dense(weight=1.0, bias=0.0):
    return Affine([[weight]], [bias])


def make(nodes, edges):
    ends = {"in": Input((1,)), "out": Output()}
    pairs = tuple(tuple(edge.split(">")) for edge in edges.split())
    return SpikingGraph(ends | nodes, pairs, DT, steps=4)


def late(graph):
    return {f"{a}>{b}" for a, b in graph.delayed}


def spikes(graph, name, values):
    inputs = np.array(values, float)[:, None, None]
    return reference.run(graph, inputs).spikes[name][:, 0, 0].astype(int).tolist()


def test_without_a_cycle_nothing_is_late():
    assert not make({"a": lif(), "b": lif()}, "in>a a>b in>b b>out").delayed


def test_a_population_sends_its_last_spikes_into_its_own_weights():
    graph = make({"a": lif(), "w": dense(-4.0, 1.0)}, "in>a a>w w>a a>out")
    assert late(graph) == {"a>w"}
    # current = x + bias 1 - 4 (spike of the step before); v halves towards it
    # t 0: 2 + 1 = 3: v = 1.5, spike, 0.   t 1: 2 + 1 - 4 = -1: v = -.5
    # t 2: 2 + 1 = 3: v = 1.25, spike, 0.  t 3: -2 + 1 - 4 = -5: v = -2.5
    inputs = np.array([2, 2, 2, -2], float)[:, None, None]
    trace = reference.run(graph, inputs)
    assert trace.spikes["a"].ravel().tolist() == [True, False, True, False]
    assert trace.membranes["a"].ravel().tolist() == [0, -0.5, 0, -2.5]


def test_an_edge_from_a_population_to_itself_is_late():
    graph = make({"a": lif()}, "in>a a>a a>out")
    assert late(graph) == {"a>a"}
    # 3: 1.5, spike.  0 + 1: .5.  0: .25.  3: 1.625, spike
    assert spikes(graph, "a", [3, 0, 0, 3]) == [1, 0, 0, 1]


def test_feedback_is_late_and_the_way_forward_is_not():
    nodes = {"a": lif(), "f": dense(), "b": lif(), "w": dense()}
    graph = make(nodes, "in>a a>f f>b b>w w>a b>out")
    assert late(graph) == {"b>w"}


def test_two_populations_side_by_side_see_the_others_last_step():
    nodes = {"a": lif(), "b": lif(), "x": dense(), "y": dense(), "c": lif()}
    graph = make(nodes, "in>a in>b a>x x>b b>y y>a a>c b>c c>out")
    assert late(graph) == {"a>x", "b>y"}


def test_depth_counts_neurons_not_maps():
    nodes = {"m": dense(), "n": dense(), "a": lif(), "b": lif(), "w": dense()}
    graph = make(nodes, "in>m m>n n>a a>b b>w w>a b>out")
    assert late(graph) == {"b>w"}


def test_weights_that_feed_a_shallower_and_a_deeper_population_are_late_for_both():
    nodes = {"a": lif(), "b": lif(), "w": dense(), "c": lif()}
    graph = make(nodes, "in>a a>b b>w w>a w>c c>w c>out")
    assert late(graph) == {"b>w", "c>w"}


def test_a_membrane_handed_back_is_late_too():
    one = np.ones(1)
    nodes = {"li": LI(2 * DT * one, one, 0 * one), "s": Threshold(one), "w": dense(-8)}
    graph = make(nodes, "in>li li>s s>w w>li s>out")
    assert late(graph) == {"s>w"}
    # li: 4 -> 2, spike; 4 - 8 -> (2 - 4) / 2 = -1; 4 -> 1.5, spike; 4 - 8 -> -1.25
    assert spikes(graph, "s", [4, 4, 4, 4]) == [1, 0, 1, 0]


@pytest.mark.parametrize("edges", ["in>a a>d d>w w>a a>out", "in>a a>w w>d d>a a>out"])
def test_a_delay_in_a_cycle_holds_exactly_its_own_steps(edges):
    graph = make({"a": lif(), "d": Delay([2]), "w": dense(4.0)}, edges)
    (edge,) = graph.delayed
    assert edge[1] == "d"
    # a spikes at 0, so that 4 arrive at 2: v = 2, spike; those arrive at 4
    assert spikes(graph, "a", [3, 0, 0, 0, 0, 0]) == [1, 0, 1, 0, 1, 0]


def test_a_delay_of_one_step_in_a_cycle_is_the_cycle_without_it():
    nodes = {"a": lif(), "w": dense(1.5)}
    plain = make(nodes, "in>a a>w w>a a>out")
    delayed = make(nodes | {"d": Delay([1])}, "in>a a>d d>w w>a a>out")
    x = np.random.default_rng(0).integers(-2, 5, 20)
    assert spikes(plain, "a", x) == spikes(delayed, "a", x)
    assert 0 < sum(spikes(plain, "a", x)) < 20


def test_a_delay_without_steps_does_not_open_a_cycle():
    nodes = {"a": lif(), "d": Delay([0]), "w": dense()}
    assert late(make(nodes, "in>a a>d d>w w>a a>out")) == {"a>d"}


def test_a_cycle_that_nothing_can_hold_is_refused_with_its_members():
    nodes = {"m": dense(), "n": dense(), "a": lif()}
    with pytest.raises(GraphError, match=r"some of \['a', 'm', 'n', 'out'\]"):
        make(nodes, "in>m m>n n>m n>a a>out")


def test_what_is_late_does_not_depend_on_the_order_in_a_file():
    nodes = {"a": lif(), "f": dense(), "b": lif(), "w": dense(), "v": dense()}
    edges = ["in>a", "a>f", "f>b", "b>w", "w>a", "b>v", "v>b", "b>out"]
    found = set()
    for names in itertools.islice(itertools.permutations(nodes), 0, None, 7):
        shuffled = {name: nodes[name] for name in names}
        for way in (edges, edges[::-1]):
            found.add(frozenset(late(make(shuffled, " ".join(way)))))
    assert found == {frozenset({"b>w", "b>v"})}


def test_a_stream_of_a_cycle_is_causal():
    rng = np.random.default_rng(3)
    graph = random_graph(rng, kind="recurrent")
    inputs = random_inputs(rng, graph, 5, steps=9)
    whole, begin = reference.run(graph, inputs), reference.run(graph, inputs[:5])
    for name, expected in begin.membranes.items():
        np.testing.assert_array_equal(whole.membranes[name][:5], expected)
