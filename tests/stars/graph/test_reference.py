"""The reference, against a 2-3-2 network worked on paper."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stars.errors import DataError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph

DT = 2.0**-10


@pytest.fixture
def graph():
    """Two inputs, three LIF neurons with k = 1/2, two integrators."""
    nodes = {
        "in": Input((2,)),
        "fc1": Affine([[2, 0], [0, 4], [1, 1]], [0, 0, 0.5]),
        "lif": LIF.uniform((3,), tau=2 * DT),
        "fc2": Affine([[1, -1, 2], [0.5, 1, 0]], [0, 0.25]),
        "sum": Integrator(np.full(2, 1 / DT)),
        "out": Output(),
    }
    return SpikingGraph(nodes, tuple(pairwise(nodes)), DT, steps=3)


INPUTS = np.array([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 1.0]]])


def test_two_three_two_by_hand(graph):
    trace = reference.run(graph, INPUTS)
    # step 0: currents 2, 0, 1.5 -> v 1 (no spike: not above 1), 0, .75
    # step 1: currents 2, 4, 2.5 -> v 1.5, 2, 1.625: three spikes
    # step 2: currents 0, 4, 1.5 -> v 0, 2 (spike), .75
    assert trace.spikes["lif"][:, 0].tolist() == [
        [False, False, False],
        [True, True, True],
        [False, True, False],
    ]
    assert trace.membranes["lif"][:, 0].tolist() == [
        [1, 0, 0.75],
        [0, 0, 0],
        [0, 0, 0.75],
    ]
    # a spike reaches the readout in its own step
    assert trace.membranes["sum"][:, 0].tolist() == [[0, 0.25], [2, 2], [1, 3.25]]
    assert trace.decisions().tolist() == [1]
    assert trace.rates() == {"lif": 4 / 9}
    assert (trace.steps, trace.batch) == (3, 1)


def test_samples_do_not_mix(graph):
    other = INPUTS[::-1]
    both = reference.run(graph, np.concatenate([INPUTS, other], axis=1))
    alone = reference.run(graph, other)
    np.testing.assert_array_equal(both.membranes["sum"][:, 1:], alone.membranes["sum"])


def test_edges_into_one_node_add(graph):
    nodes = dict(graph.nodes) | {"fc1b": Affine([[0, 0], [0, 0], [1, 1]], [0, 0, -0.5])}
    edges = (*graph.edges, ("in", "fc1b"), ("fc1b", "lif"))
    trace = reference.run(SpikingGraph(nodes, edges, DT, 3), INPUTS)
    # the third current is now 2, 4, 2: v 1, then 2.5 (spike), then 1
    assert trace.membranes["lif"][:, 0, 2].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((3, 1, 3)), r"shape \(3, 1, 3\), expected \[T, B, 2\]"),
        (np.zeros((3, 2)), "expected"),
        (np.zeros((0, 1, 2)), "no step or no sample"),
        (np.zeros((3, 0, 2)), "no step or no sample"),
        (np.full((3, 1, 2), np.nan), "NaN or infinity"),
    ],
)
def test_wrong_inputs_are_refused(graph, inputs, message):
    with pytest.raises(DataError, match=message):
        reference.run(graph, inputs)
