"""The cost of quantization, by hand on one neuron and against numpy on graphs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stars.errors import DataError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.quantization import quantization
from stars.testing.random_graphs import random_graph, random_inputs
from targets.grid_cost import CHUNK, Sample, measure, random_sample
from targets.inputs import ArrayInputs

DT = 2.0**-10


def float_graph(seed: int, kind: str, tau: float = 2 * DT) -> SpikingGraph:
    graph = random_graph(np.random.default_rng(seed), kind=kind, on_grid=False)
    uniform = {n: LIF.uniform(graph.shapes[n], tau=tau) for n in graph.spiking}
    return graph.replace_nodes(uniform)


def one_neuron(weights: list[float], bias: float, **changes: float) -> SpikingGraph:
    nodes = {
        "in": Input((len(weights),)),
        "fc": Affine([weights], [bias]),
        "lif": LIF.uniform((1,), **({"tau": 2 * DT} | changes)),
        "dense": Affine([[1.0], [-1.0]], [0.0, 0.5]),
        "readout": Integrator(np.full(2, 1 / DT)),
        "out": Output(),
    }
    names = list(nodes)
    edges = tuple(pairwise(names))
    return SpikingGraph(nodes, edges, DT, 2)


def test_one_neuron_by_hand():
    """127 / 64 is the largest weight, so a step is 2^-6, and 0.7 is 44.8 of them."""
    graph = one_neuron([127 / 64, 0.7], 0.3, v_threshold=1.01)
    # one input gives v = 0.35 + 0.15 = 0.5, then 0.75; 45 and 19 steps give the same
    sample = Sample(ArrayInputs(np.ones((2, 3, 2)) * [0, 1]), np.array([1, 1, 0]), "")
    report = measure(graph, quantization(graph), sample)
    fc, dense = report.nodes
    assert (fc.node, fc.step_exponent, fc.weights) == ("fc", -6, 2)
    assert fc.weight_error == pytest.approx(0.2 / 64)
    assert fc.relative_error == pytest.approx(0.2 / 64 / np.hypot(127 / 64, 0.7))
    assert fc.bias_error == pytest.approx(0.2 / 64)
    assert (fc.clipped_weights, fc.clipped_biases) == (0, 0)
    assert (dense.weight_error, dense.bias_error) == (0, 0)
    (lif,) = report.neurons
    assert lif.threshold_error == pytest.approx(0.28 / 128)  # 1.01 is 129.28 of 2^-7
    assert (lif.agreement, lif.rate_before, lif.rate_after) == (1, 0, 0)
    assert report.decisions == 1
    assert report.accuracy_before == report.accuracy_after == 2 / 3
    assert report.certificate.ok


def test_a_clipped_bias_is_counted():
    graph = one_neuron([1.0, 0.3], 10_000.0)
    sample = random_sample(graph, 4)
    fc = measure(graph, quantization(graph), sample).nodes[0]
    assert fc.clipped_biases == 1
    assert fc.bias_error == 10_000 - 8190 / 64


def test_a_changed_time_constant_is_reported():
    graph = one_neuron([1.0], 0.0, tau=3 * DT)
    report = measure(
        graph, quantization(graph, round_decay=True), random_sample(graph, 4)
    )
    assert report.neurons[0].tau_before == 3 * DT
    assert report.neurons[0].tau_after == 4 * DT


@pytest.mark.parametrize("kind", ["vgg", "residual"])
def test_shares_are_those_of_the_two_traces_however_many_chunks(kind):
    graph = float_graph(3, kind)
    done = quantization(graph, bits=3)
    sample = random_sample(graph, CHUNK + 7)
    labels = np.arange(CHUNK + 7) % 4
    report = measure(graph, done, replace(sample, labels=labels))
    inputs = sample.inputs.take(0, CHUNK + 7)
    old, new = reference.run(graph, inputs), reference.run(done.graph, inputs)
    for row in report.neurons:
        equal = old.spikes[row.node] == new.spikes[row.node]
        assert row.agreement == pytest.approx(equal.mean(), abs=1e-12)
        assert row.agreement < 1
        assert row.rate_before == pytest.approx(old.rates()[row.node], abs=1e-12)
        assert row.rate_after == pytest.approx(new.rates()[row.node], abs=1e-12)
    assert report.decisions == np.mean(old.decisions() == new.decisions())
    assert report.accuracy_before == np.mean(old.decisions() == labels)
    assert report.accuracy_after == np.mean(new.decisions() == labels)


def test_a_graph_on_the_grid_costs_nothing():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="shortcut")
    sample = Sample(ArrayInputs(random_inputs(rng, graph, 5)), None, "noise")
    report = measure(graph, quantization(graph), sample)
    assert all(row.weight_error == row.bias_error == 0 for row in report.nodes)
    assert all(row.agreement == 1 for row in report.neurons)
    assert report.decisions == 1
    assert report.accuracy_before is None


def test_labels_must_be_as_many_as_inputs():
    graph = one_neuron([1.0], 0.0)
    sample = replace(random_sample(graph, 4), labels=np.zeros(3, np.int64))
    with pytest.raises(DataError, match="3 labels for 4 inputs"):
        measure(graph, quantization(graph), sample)
