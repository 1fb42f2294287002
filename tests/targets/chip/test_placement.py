"""Placements, counted again by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph
from targets.chip.fit import fit
from targets.chip.placement import (
    Layer,
    axon_bits,
    cores_with_shared_kernels,
    place_layer,
    place_layers,
)
from targets.hardware.limits import (
    LIMITS,
    ChipLimits,
    Limit,
)

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
