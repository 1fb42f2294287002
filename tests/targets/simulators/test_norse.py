"""What is particular to Norse as a target; that it is exact is in test_differential."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from stars.errors import DataError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Conv2d, Input, Integrator, Map, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_graph
from targets.simulators.norse import NorseTarget


def test_five_steps_worked_by_hand():
    """k = 1/2, r = 2, leak -1, reset -2, input 2:  v' = v + (-1 - v + 4) / 2."""
    node = LIF.uniform((1,), tau=2.0, r=2.0, v_leak=-1.0, v_threshold=1.0, v_reset=-2.0)
    graph = SpikingGraph(
        {"in": Input((1,)), "lif": node, "out": Output()},
        (("in", "lif"), ("lif", "out")),
        dt=1.0,
        steps=5,
    )
    trace = NorseTarget().run(graph, np.full((5, 1, 1), 2.0))
    assert trace.membranes["lif"].ravel().tolist() == [1.0, -2.0, 0.5, -2.0, 0.5]
    assert trace.spikes["lif"].ravel().tolist() == [False, True, False, True, False]


def wide_convolution() -> tuple[SpikingGraph, np.ndarray]:
    """A 3 x 3 convolution of large integers, which Winograd and bfloat16 get wrong."""
    rng = np.random.default_rng(0)
    conv = Conv2d(rng.integers(-127, 128, (32, 16, 3, 3)), np.zeros(32), padding=1)
    nodes = {
        "in": Input((16, 14, 14)),
        "conv": conv,
        "sum": Integrator(np.ones((32, 14, 14))),
        "out": Output(),
    }
    edges = (("in", "conv"), ("conv", "sum"), ("sum", "out"))
    graph = SpikingGraph(nodes, edges, dt=1.0, steps=2)
    return graph, rng.integers(-127, 128, (2, 20, 16, 14, 14)).astype(np.float64)


@pytest.mark.parametrize("precision", ["none", "bf16"])
def test_convolutions_are_exact_whatever_is_allowed_elsewhere(precision):
    graph, inputs = wide_convolution()
    kernels = torch.backends.mkldnn.conv
    before, kernels.fp32_precision = kernels.fp32_precision, precision
    try:
        trace = NorseTarget().run(graph, inputs)
        assert kernels.fp32_precision == precision
    finally:
        kernels.fp32_precision = before
    assert_same_membranes(trace, reference.run(graph, inputs))


def test_grouped_and_dilated_convolutions_are_the_references():
    rng = np.random.default_rng(1)
    conv = Conv2d(
        rng.integers(-9, 9, (4, 1, 3, 2)), np.ones(4), (2, 1), (2, 1), (2, 3), groups=2
    )
    nodes = {
        "in": Input((2, 9, 8)),
        "conv": conv,
        "lif": LIF.uniform((4, 5, 7), tau=4.0, v_threshold=2.0),
        "out": Output(),
    }
    edges = (("in", "conv"), ("conv", "lif"), ("lif", "out"))
    graph = SpikingGraph(nodes, edges, dt=1.0, steps=3)
    x = rng.integers(-9, 9, (3, 5, 2, 9, 8)).astype(np.float64)
    trace, desired = NorseTarget().run(graph, x), reference.run(graph, x)
    assert_same_spikes(trace, desired)
    assert_same_membranes(trace, desired)
    assert 0 < desired.rates()["lif"] < 1


def test_the_callers_random_state_stays():
    before = torch.random.get_rng_state()
    graph = random_graph(np.random.default_rng(0), kind="vgg")
    NorseTarget().run(graph, np.zeros((4, 1, *graph.shapes[graph.input])))
    assert torch.equal(torch.random.get_rng_state(), before)


class Doubling(Map):
    def output_shape(self, shape):
        return shape


def test_every_node_without_a_module_is_named():
    graph = SpikingGraph(
        {
            "i": Input((2,)),
            "a": Doubling(),
            "w": Affine(np.ones((2, 2)), np.ones(2)),
            "b": Doubling(),
            "v": Integrator(np.ones(2)),
            "o": Output(),
        },
        (("i", "a"), ("a", "w"), ("w", "b"), ("b", "v"), ("v", "o")),
        dt=1.0,
        steps=1,
    )
    with pytest.raises(UnsupportedNodeError, match="'a': 'Doubling', 'b': 'Doubling'"):
        NorseTarget().run(graph, np.ones((1, 1, 2)))


def test_inputs_of_another_shape_are_refused():
    graph, inputs = wide_convolution()
    with pytest.raises(DataError, match="inputs have shape"):
        NorseTarget().run(graph, inputs[..., 1:])


def test_listing_the_target_imports_no_torch():
    code = (
        "import sys; from targets import table; t = table.load('norse');"
        "assert t.unavailable() is None; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
