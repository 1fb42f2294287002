"""The lowering to integers: by hand, and what it refuses."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from stars.errors import GraphError, LimitError, UnsupportedNodeError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    IF,
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Input,
    Integrator,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.testing.random_graphs import random_graph

DT = 2.0**-10


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, tau=2 * DT, **changes):
    return LIF.uniform(shape, tau=tau, **changes)


def affine(weight, bias=None):
    return Affine(weight, np.zeros(len(weight)) if bias is None else bias)


def test_weights_bias_and_threshold_by_hand():
    node = lif(2, r=2, v_threshold=1.25, v_leak=0.25, v_reset=0.25)
    graph = chain(Input((2,)), affine([[1.5, -0.25], [0, 3]], [0.75, 0]), node)
    plan = lower(graph)
    (population,), (connection,) = plan.populations, plan.connections
    # k r = 1, so that the finest of 1.5, .25, 3, .75 and the threshold 1 is 2^-2
    assert population.exponent == -2
    assert connection.weights.toarray().tolist() == [[6, -1], [0, 12]]
    assert (connection.shift, connection.delay) == (0, 0)
    assert population.bias.tolist() == [3, 0]
    assert (population.threshold, population.decay_shift) == (4, 1)
    assert (population.offset, population.latency) == (0.25, 0)


cuba = partial(CubaLIF.uniform, tau_syn=4 * DT, tau_mem=2 * DT, w_in=4.0)


def test_a_current_with_memory_by_hand():
    node = cuba((1,), r=2, v_threshold=8)
    plan = lower(chain(Input((1,)), affine([[3.0]]), node))
    (population,), (connection,) = plan.populations, plan.connections
    # k_u w_in k_v r = 1: what arrives is 3 V
    assert connection.weights.toarray() * 2.0**population.exponent == [[3]]
    assert (population.decay_shift, population.current_decay_shift) == (1, 2)
    assert population.threshold * 2.0**population.exponent == 8
    assert population.finest_shift == 2


def test_a_long_run_makes_the_unit_finer_for_the_slower_decay():
    def unit(steps):
        graph = chain(Input((1,)), affine([[1.0]]), cuba((1,)), steps=steps)
        return lower(graph).populations[0].exponent

    # the current's last bit is 2 bits finer after each decay, 6 are there
    assert [unit(steps) for steps in (4, 5, 6)] == [-1, -3, -5]


def test_a_current_without_memory_is_a_lif():
    graph = chain(Input((1,)), affine([[1.5]], [0.5]), cuba((1,), tau_syn=DT, w_in=1.0))
    plan = lower(graph)
    expected = lower(chain(Input((1,)), affine([[1.5]], [0.5]), lif(1)))
    (left,), (right,) = plan.populations, expected.populations
    assert (left.bias.tolist(), left.threshold) == (
        right.bias.tolist(),
        right.threshold,
    )
    assert left.current_decay_shift == 0


def integrate_and_fire(*shape, **changes):
    values = {"r": 1 / DT, "v_threshold": 1.0, "v_reset": 0.0}
    return IF(**{n: np.full(shape, v) for n, v in (values | changes).items()})


def test_an_if_by_hand():
    node = integrate_and_fire(1, r=2 / DT, v_threshold=8)
    plan = lower(chain(Input((1,)), affine([[3.0]], [0.5]), node))
    (population,), (connection,) = plan.populations, plan.connections
    assert population.exponent == 0  # increments of 6 and 1 volts
    assert connection.weights.toarray().tolist() == [[6]]
    assert population.bias.tolist() == [1]
    assert (population.threshold, population.decay_shift) == (8, None)
    assert (population.spiking, population.offset) == (True, 0)


def test_the_unit_is_the_largest_power_of_two_that_divides_all():
    plan = lower(chain(Input((1,)), affine([[64.0]]), lif(1, v_threshold=16)))
    assert plan.populations[0].exponent == 4  # 32 = 2 units, the threshold 1
    assert plan.connections[0].weights.toarray().tolist() == [[2]]


def test_an_images_exponent_is_in_the_first_unit():
    encoding = DirectEncoding((0.5,), (0.25,), exponent=-5)
    graph = chain(
        Input((1, 1, 1)), Conv2d([[[[3.0]]]], [0.0]), lif(1, 1, 1), encoding=encoding
    )
    plan = lower(graph)
    assert plan.populations[0].exponent == -6  # 3 times 2^-5 times k
    assert (plan.input_low.tolist(), plan.input_high.tolist()) == ([-64], [64])
    assert plan.input_graded


def test_a_mean_pool_and_a_convolution_are_one_product():
    conv = Conv2d(np.array([[[[1.0, 2.0]]]]), [0.5])
    graph = chain(Input((1, 2, 4)), AvgPool2d((2, 2), (2, 2)), conv, lif(1, 1, 1))
    plan = lower(graph)
    weights = (
        plan.connections[0].weights.toarray() * 2.0 ** plan.populations[0].exponent
    )
    assert weights.tolist() == [[0.125, 0.125, 0.25, 0.25] * 2]


def test_biases_go_through_the_maps_that_follow():
    dense = affine(np.array([[1.0, -2.0]]), [0.5])
    graph = chain(Input((1,)), affine([[1.0], [1.0]], [3.0, 1.0]), dense, lif(1))
    plan = lower(graph)
    assert plan.populations[0].bias * 2.0 ** plan.populations[0].exponent == [0.75]


def test_branches_have_a_latency_and_the_early_one_a_delay():
    plan = lower(random_graph(np.random.default_rng(0), kind="residual"))
    latency = {p.name: p.latency for p in plan.populations}
    assert latency == {
        "lif0": 0,
        "block0_lif0": 1,
        "block0_lif1": 2,
        "block1_lif0": 3,
        "block1_lif1": 4,
        "readout": 5,
    }
    delays = {(c.source, c.target): c.delay for c in plan.connections}
    assert {edge for edge, delay in delays.items() if delay} == {
        ("lif0", "block0_lif1"),
        ("block0_lif1", "block1_lif1"),
    }


def test_branches_of_different_steps_have_one_unit_and_left_shifts():
    nodes = {
        "in": Input((1,)),
        "coarse": affine([[100 * 2.0**4]]),
        "fine": affine([[3 * 2.0**-2]]),
        "lif": lif(1, v_threshold=4),
        "out": Output(),
    }
    edges = (("in", "coarse"), ("in", "fine"), ("coarse", "lif"), ("fine", "lif"))
    graph = SpikingGraph(nodes, (*edges, ("lif", "out")), DT, 4)
    plan = lower(graph)
    assert plan.populations[0].exponent == -3
    # 1600 k = 800 V = 6400 units = 100 << 6; 6 bits do not fit into 100, which has 7
    assert [(c.weights.toarray().item(), c.shift) for c in plan.connections] == [
        (100, 6),
        (3, 0),
    ]


def test_a_long_run_makes_the_unit_finer_where_there_is_room():
    def unit(steps):
        graph = chain(Input((1,)), affine([[3.0]]), lif(1, v_threshold=4), steps=steps)
        return lower(graph).populations[0].exponent

    # 6 bits below the unit serve 6 decays; every further one takes another
    assert [unit(steps) for steps in (4, 7, 8, 10)] == [-1, -1, -2, -4]


def spread(weights, **changes):
    values = {"v_leak": 0.0, "v_reset": 0.0, "tau": 2 * DT, **changes}
    return chain(Input((1,)), affine(weights), lif(len(weights), **values))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (spread([[1.0]], tau=3 * DT), "k = dt / tau is 0.333"),
        (spread([[1.0]], tau=DT), "k = dt / tau is 1.0"),
        (spread([[1.0]], v_leak=0.5), r"v_leak is 0.5 and v_reset 0.0"),
        (spread([[129.0], [1.0]]), "composed weights reach 129, 8 bits and a sign"),
        (spread([[2.0**-13]], v_threshold=64), "the threshold is 1048576 units"),
        (
            chain(Input((1,)), affine([[1.0]], [0.5]), cuba((1,))),
            "'n1': a bias arrives with its input and would enter its synaptic current",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), cuba((1,), r=3.0)),
            "r is 3.0 to 3.0; with a synaptic current",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), cuba((1,), tau_syn=3 * DT)),
            "dt / tau_syn is 0.333.*j from 0 to 12",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), integrate_and_fire(1, v_reset=-0.5)),
            "v_reset is -0.5, expected 0",
        ),
        (
            chain(
                Input((1,)),
                affine([[1.0], [1.0]]),
                integrate_and_fire(2, v_threshold=[1.0, 2.0]),
            ),
            "v_threshold differs from neuron to neuron",
        ),
        (
            chain(Input((1,)), affine([[1.0]], [4097.0]), lif(1)),
            "the bias is up to 4097 units",
        ),
        (
            chain(
                Input((1,)),
                affine([[1.0]]),
                LIF([DT * 2, DT * 4][:1], [1], [0], [1], [0]),
                affine([[1.0], [1.0]]),
                LIF([DT * 2, DT * 4], [1, 1], [0, 0], [1, 1], [0, 0]),
            ),
            "node 'n3': tau differs from neuron to neuron",
        ),
    ],
)
def test_what_does_not_fit_the_chip_is_refused(graph, message):
    with pytest.raises(LimitError, match=message):
        lower(graph)


def test_every_violation_is_told_at_once():
    node = lif(2, tau=3 * DT, v_leak=0.5)
    graph = chain(
        Input((1,)), affine([[129.0], [1.0]]), node, affine([[1.0, 255.0]]), lif(1)
    )
    with pytest.raises(LimitError) as caught:
        lower(graph)
    assert len(caught.value.violations) == 4
    assert "n0" in caught.value.violations[2]


def test_branches_too_far_apart_are_refused():
    nodes = {
        "in": Input((1,)),
        "coarse": affine([[127 * 2.0**9]]),
        "fine": affine([[1.0]]),
        "lif": lif(1, v_threshold=4),
        "out": Output(),
    }
    edges = (("in", "coarse"), ("in", "fine"), ("coarse", "lif"), ("fine", "lif"))
    with pytest.raises(LimitError, match="needs a left shift of 9"):
        lower(SpikingGraph(nodes, (*edges, ("lif", "out")), DT, 4))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (spread([[1.0], [1 / 3]]), r"node 'n0': weight\[1, 0\] is 0.333.*it needs 5"),
        (spread([[1.0]], v_threshold=0.3), "node 'n1': v_threshold.*is 0.3"),
        (chain(Input((1,)), affine([[1.0]], [0.1]), lif(1)), r"bias\[0\] is 0.1"),
        (
            chain(Input((1, 3, 3)), AvgPool2d((3, 3), (3, 3)), lif(1, 1, 1)),
            "node 'n0': scale is 0.111",
        ),
        (chain(Input((1,)), affine([[1.0]]), lif(1, r=0.1)), "node 'n1': r"),
    ],
)
def test_what_is_off_the_grid_is_refused(graph, message):
    with pytest.raises(GraphError, match=message):
        lower(graph)


def test_every_map_off_the_grid_is_named():
    graph = chain(Input((1,)), affine([[0.1]]), affine([[0.3]]), lif(1))
    with pytest.raises(GraphError, match=r"(?s)'n0'.*'n1'"):
        lower(graph)


def test_a_membrane_cannot_be_handed_on():
    node = Integrator(np.full(1, 1 / DT))
    with pytest.raises(UnsupportedNodeError, match="'n1' passes its membrane"):
        lower(chain(Input((1,)), affine([[1.0]]), node, affine([[1.0]]), lif(1)))


def test_an_encoding_of_other_channels_is_refused():
    graph = chain(
        Input((2, 1, 1)), lif(2, 1, 1), encoding=DirectEncoding((0.0,), (1.0,))
    )
    with pytest.raises(GraphError, match="the encoding has 1 channels"):
        lower(graph)
