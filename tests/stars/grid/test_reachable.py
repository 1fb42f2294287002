"""The list of a population's states, against every run of the same neuron."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.plan import Connection, Population
from stars.grid.reachable import in_float32, reached, sums_of
from targets import table

STEPS = 5


def population(weights, shift, threshold, bias=0, memory=0):
    """One neuron that spike inputs reach through `weights`."""
    neuron = Population(
        "n", (1,), True, 0, shift, threshold, np.array([bias]), 0, 0, 0.0, memory
    )
    connection = Connection("in", "n", csr_array(np.array([weights])), 0, 0)
    size = len(weights)
    return neuron, (connection,), {"in": (np.zeros(size, int), np.ones(size, int))}


def every_run(weights, shift, threshold, bias, memory):
    """(Steps with exact membranes, steps with exact spikes) over all spike trains.

    Exact membranes are Fractions, the chip's are integers, and float32's are numpy's.
    """
    k, k_u, membranes, spikes = (
        Fraction(1, 2**shift),
        Fraction(1, 2**memory),
        STEPS,
        STEPS,
    )
    for train in product(product((0, 1), repeat=len(weights)), repeat=STEPS):
        u = v = Fraction(0)
        chip_u = chip_v = 0
        rounded_u = rounded = np.float32(0)
        for step, inputs in enumerate(train):
            a = sum(w * x for w, x in zip(weights, inputs, strict=True))
            u = u * (1 - k_u) + a if memory else Fraction(a)
            v = v * (1 - k) + u + bias
            chip_u = int(chip_u * (1 - k_u)) + 64 * a if memory else 64 * a
            chip_v = int(chip_v * (1 - k)) + chip_u + 64 * bias
            # As a cell computes them: toward an input that is 2^shift times as large.
            target = np.float32(a * 2**memory)
            if memory:
                rounded_u += np.float32(k_u) * (target - rounded_u)
            else:
                rounded_u = np.float32(a + bias)
            drive = rounded_u * np.float32(2**shift) - rounded
            rounded = rounded + np.float32(k) * drive
            fired = v > threshold
            if fired != (chip_v > 64 * threshold) or fired != (rounded > threshold):
                spikes, membranes = min(spikes, step), min(membranes, step)
                break
            if fired:
                v, chip_v, rounded = Fraction(0), 0, np.float32(0)
            if chip_v != 64 * v or Fraction(float(rounded)) != v:
                membranes = min(membranes, step)
    return membranes, spikes


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.integers(-127, 127), min_size=1, max_size=2),
    shift=st.integers(1, 3),
    threshold=st.integers(1, 300),
    bias=st.integers(-99, 99),
    memory=st.sampled_from([0, 0, 1, 2]),
)
def test_it_finds_the_step_at_which_the_chip_truncates(
    weights, shift, threshold, bias, memory
):
    """Small integers need few bits of float32, so only the chip can differ."""
    bias = 0 if memory else bias
    found = reached(
        *population(weights, shift, threshold, bias, memory), STEPS, truncates=False
    )
    membranes, spikes = every_run(weights, shift, threshold, bias, memory)
    assert (found.membranes, found.spikes) == (membranes, spikes)


@settings(max_examples=30, deadline=None)
@given(
    weights=st.lists(st.integers(-(2**23), 2**23), min_size=1, max_size=2),
    shift=st.integers(1, 4),
    threshold=st.integers(1, 2**22),
    memory=st.sampled_from([0, 0, 1, 2]),
)
def test_it_never_claims_more_than_float32_keeps(weights, shift, threshold, memory):
    found = reached(
        *population(weights, shift, threshold, 0, memory), STEPS, truncates=False
    )
    membranes, spikes = every_run(weights, shift, threshold, 0, memory)
    assert found.membranes <= membranes
    assert found.spikes <= spikes


def test_sums_are_all_subsets_and_too_many_are_not_listed():
    _, connections, sources = population([1, 2, -4], 1, 5)
    assert sums_of(0, connections, sources).tolist() == list(range(-4, 4))
    _, connections, sources = population(list(3 ** np.arange(16)), 1, 5)
    assert sums_of(0, connections, sources) is None


def test_a_state_that_repeats_holds_for_all_steps():
    found = reached(*population([64, 64], 1, 1), 10**6, truncates=False)
    assert (found.membranes, found.spikes) == (10**6, 10**6)


def test_an_offset_hides_no_bits_of_the_membrane():
    """At step 9 it has 17 bits and 8 below a unit; 65,535 less, it has one fewer."""
    neuron, *arriving = population([65_535], 1, 131_071)
    shifted = replace(neuron, offset=-65_535.0)
    plain = reached(neuron, *arriving, 12, truncates=False)
    assert (plain.membranes, plain.spikes) == (7, 8)
    assert reached(shifted, *arriving, 12, truncates=False) == plain


def test_a_decay_that_truncates_is_the_chip_itself():
    neuron = population([1, 2], 3, 100)
    assert reached(*neuron, STEPS, truncates=False).membranes < STEPS
    assert reached(*neuron, STEPS, truncates=True).membranes == STEPS


@pytest.mark.parametrize(
    ("value", "fits"),
    [(0, True), (2**24, True), (2**24 - 1, True), (2**24 + 1, False), (3 << 40, True)],
)
def test_24_bits_from_the_first_to_the_last(value, fits):
    assert in_float32(np.array([value, -value])) == fits
    assert (Fraction(float(np.float32(value))) == value) == fits


def test_a_population_that_is_proved_by_its_list_needs_no_more_bits_than_there_are():
    """Each input makes it spike, so its membrane is always 0 after the reset."""
    heavy = {"map": Affine(np.full((1, 1), 1016.0), np.zeros(1))}
    certificate = certify(network(999.0).replace_nodes(heavy))
    row = certificate.populations[0]
    assert certificate.ok
    assert (row.fits, row.float32_bits) == (True, 24)


def network(threshold):
    """One neuron with k = 1/16 that a weight of 1 drives for 6 steps, and a readout."""
    dt, one = 2.0**-10, np.ones(1)
    nodes = {
        "in": Input((1,)),
        "map": Affine(one[None], 0 * one),
        "lif": LIF(16 * dt * one, 16 * one, 0 * one, threshold * one, 0 * one),
        "fc": Affine(np.ones((2, 1)), np.zeros(2)),
        "sum": Integrator(np.full(2, 1 / dt)),
        "out": Output(),
    }
    order = list(nodes)
    return SpikingGraph(nodes, tuple(pairwise(order)), dt, 6)


def test_spikes_can_be_exact_where_membranes_are_not():
    """A high threshold makes units coarse, so the chip soon truncates."""
    graph = network(1001.0)
    certificate = certify(graph)
    assert certificate.verdict == "spikes exact, membranes up to T = 4"
    assert not certificate.ok
    trains = np.array(list(product((0.0, 1.0), repeat=6)))
    inputs = trains.T[:, :, None]
    desired = reference.run(graph, inputs)
    for name in ("norse", "onnx", "loihi"):
        actual = table.load(name).run(graph, inputs)
        assert (actual.spikes["lif"] == desired.spikes["lif"]).all()
    assert (actual.membranes["lif"][:4] == desired.membranes["lif"][:4]).all()
    assert (actual.membranes["lif"] != desired.membranes["lif"]).any()
