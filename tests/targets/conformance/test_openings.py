"""Readings that the format leaves open, worked by hand on one neuron."""

import numpy as np
import pytest

from stars.graph import reference
from stars.graph.nodes import IF, LIF, CubaLI, Input, Output
from stars.graph.spiking_graph import SpikingGraph
from targets.conformance.openings import OPENINGS


def one(node):
    nodes = {"i": Input((1,)), "n": node, "o": Output()}
    return SpikingGraph(nodes, (("i", "n"), ("n", "o")), dt=1.0, steps=2)


def values(**fields):
    return {name: np.full(1, float(value)) for name, value in fields.items()}


def lif(**changes):
    fields = {"tau": 2, "r": 1, "v_leak": 0, "v_threshold": 9, "v_reset": 0}
    return LIF(**values(**(fields | changes)))


# inputs 1 and 0, two steps
WORKED = {
    "exponential decay": (lif(), [1 - np.exp(-0.5), (1 - np.exp(-0.5)) * np.exp(-0.5)]),
    "starts at 0": (lif(v_leak=2), [1.5, 1.75]),
    "starts at v_reset": (
        IF(**values(r=1, v_threshold=9, v_reset=-0.5)),
        [0.5, 0.5],
    ),
    "current of the step before": (
        CubaLI(**values(tau_syn=2, tau_mem=4, r=1, v_leak=0, w_in=1)),
        [0, 0.125],
    ),
}


@pytest.mark.parametrize("name", WORKED)
def test_a_reading_steps_as_worked_by_hand(name):
    node, expected = WORKED[name]
    graph = OPENINGS[name](one(node))
    x = np.array([1.0, 0.0]).reshape(2, 1, 1)
    found = reference.run(graph, x).membranes["n"].ravel()
    np.testing.assert_allclose(found, expected)
    plain = reference.run(one(node), x).membranes["n"].ravel()
    assert not np.allclose(plain, expected)
