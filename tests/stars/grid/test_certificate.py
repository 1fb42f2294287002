"""Each bound of the certificate at its edge, by brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from stars.errors import GraphError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    Conv2d,
    Input,
    Integrator,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.loihi.emulator import LoihiEmulator

DT = 2.0**-10
HIGH = 2.0**15  # a threshold that nothing here reaches, 16 bits


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, **changes):
    return LIF.uniform(shape, **({"tau": 2 * DT} | changes))


def row_of(total):
    """Integer weights of at most 127 each that sum to `total`."""
    whole, rest = divmod(abs(total), 127)
    return np.sign(total) * np.array([[127.0] * whole + [float(rest)]])


def summing(total, node, **changes):
    """A graph whose one neuron receives `total` units when every input spikes."""
    weights = row_of(total) * (2 if isinstance(node, LIF) else 1)  # k = 1/2
    affine = Affine(weights, np.zeros(1))
    return chain(Input((weights.shape[1],)), affine, node, **changes)


def integrator():
    return Integrator(np.full(1, 1 / DT))


def is_exact(graph, inputs):
    """Whether the emulated chip and the reference agree bit for bit."""
    actual, desired = LoihiEmulator().run(graph, inputs), reference.run(graph, inputs)
    try:
        assert_same_spikes(actual, desired)
        assert_same_membranes(actual, desired)
    except AssertionError:
        return False
    return True


def all_on(graph, steps=None):
    return np.ones((steps or graph.steps, 1, *graph.shapes["in"]))


# --- the certificate, at its edges ---


def test_currents_just_inside_the_register_are_exact_and_just_outside_reported():
    inside = summing(2**17 - 1, lif(1, v_threshold=HIGH))
    assert certify(inside).ok
    assert certify(inside).populations[0].accumulator == 2**17 - 1
    assert is_exact(inside, all_on(inside))
    outside = summing(2**17 + 1, lif(1, v_threshold=HIGH))
    certificate = certify(outside)
    assert certificate.exact_steps == 0
    assert "sums of currents reach 131073 units, 18 bits" in certificate.verdict
    assert not is_exact(outside, all_on(outside))


def test_signs_are_split():
    """100 000 units up and 100 000 down never meet as 200 000."""
    weights = np.concatenate([row_of(100_001), row_of(-30_001)], axis=1)
    graph = chain(
        Input((weights.shape[1],)),
        Affine(2 * weights, [0.0]),
        lif(1, v_threshold=HIGH),
    )
    assert certify(graph).populations[0].accumulator == 100_001
    assert certify(graph).ok


def test_the_inputs_interval_counts_per_channel():
    encoding = DirectEncoding((0.0, 0.0), (1.0, 2.0), exponent=-5)
    weights = np.array([[[[3.0]], [[-5.0]]]])
    graph = chain(
        Input((2, 1, 1)), Conv2d(weights, [0.0]), lif(1, 1, 1), encoding=encoding
    )
    # levels 0..32 and 0..16: at most 3 * 32 up, 5 * 16 down
    assert certify(graph).populations[0].accumulator == 96


def test_a_negative_membrane_just_inside_is_exact_and_just_outside_reported():
    # after 4 steps a (1 + 1/2 + 1/4 + 1/8) = 1.875 a; the chip ends at 131071.98 units
    inside = summing(-69905, lif(1, v_threshold=HIGH))
    assert certify(inside).ok
    assert certify(inside).populations[0].membrane_bits == 24
    assert is_exact(inside, all_on(inside))
    outside = summing(-69906, lif(1, v_threshold=HIGH))
    assert certify(outside).verdict == "exact up to T = 3"
    assert "the chip clips" in certify(outside).breaks[0].message
    assert not is_exact(outside, all_on(outside))
    assert is_exact(outside, all_on(outside, steps=3))


def test_the_bias_counts_in_the_membrane():
    graph = summing(-69905, lif(1, v_threshold=HIGH))
    affine = replace(graph.nodes["n0"], bias=np.array([-2.0]))
    graph = graph.replace_nodes({"n0": affine})
    assert certify(graph).exact_steps == 3
    assert not is_exact(graph, all_on(graph))


def test_clipping_above_the_threshold_is_harmless():
    graph = summing(2**17 - 1, lif(1, v_threshold=1.0))
    bias = replace(graph.nodes["n0"], bias=np.array([2.0 * 4095]))
    graph = graph.replace_nodes({"n0": bias})
    assert certify(graph).ok
    assert is_exact(graph, all_on(graph))


def test_a_readout_just_inside_is_exact_and_just_outside_reported():
    inside = summing(2**15 - 1, integrator())
    assert certify(inside).ok
    assert is_exact(inside, all_on(inside))
    outside = summing(2**15, integrator())
    bias = replace(outside.nodes["n0"], bias=np.array([1.0]))
    outside = outside.replace_nodes({"n0": bias})
    assert certify(outside).verdict == "exact up to T = 3"
    assert not is_exact(outside, all_on(outside))


def one_early_unit(steps):
    """A neuron that gets one unit at first, and is too full for a finer unit."""
    weights = np.concatenate([[[1.0]], row_of(2**16)], axis=1)
    return chain(
        Input((weights.shape[1],)),
        Affine(2 * weights, [0.0]),
        lif(1, v_threshold=HIGH),
        steps=steps,
    )


def test_decay_is_exact_up_to_seven_steps_and_truncates_at_the_eighth():
    def inputs(steps):
        x = np.zeros((steps, 1, *one_early_unit(steps).shapes["in"]))
        x[0, 0, 0] = 1
        return x

    assert certify(one_early_unit(7)).ok
    assert is_exact(one_early_unit(7), inputs(7))
    certificate = certify(one_early_unit(8))
    assert certificate.verdict == "exact up to T = 7"
    assert "truncates from step 8 on" in certificate.breaks[0].message
    assert not is_exact(one_early_unit(8), inputs(8))


def test_decay_by_a_quarter_is_exact_up_to_four_steps():
    graph = one_early_unit(4)
    graph = graph.replace_nodes({"n1": lif(1, tau=4 * DT, v_threshold=HIGH)})
    assert certify(graph).exact_steps == 4


def test_a_spare_shift_makes_more_steps_exact():
    graph = chain(Input((1,)), Affine([[2.0]], [0.0]), lif(1), steps=12)
    certificate = certify(graph)
    assert certificate.populations[0].spare_shift == 5
    assert certificate.ok
    x = np.zeros((12, 1, 1))
    x[0] = 1
    assert is_exact(graph, x)


def float32_run(weights, inputs, threshold):
    """Membranes of one LIF neuron with k = 1/2 in float32, before nothing is reset."""
    v, half = np.float32(0), np.float32(0.5)
    found = []
    for x in inputs:
        current = np.float32(0)
        for weight, value in zip(weights, x, strict=True):
            current += np.float32(weight) * np.float32(value)
        v = v + half * (current - v)
        v = np.float32(0) if v > np.float32(threshold) else v
        found.append(float(v))
    return found


def test_float32_is_exact_within_its_bits_and_not_beyond():
    def run(steps):
        graph = summing(2**13 + 1, lif(1, v_threshold=HIGH), steps=steps)
        weights = graph.nodes["n0"].weight[0]
        x = np.zeros((steps, 1, len(weights)))
        x[0, 0, -1] = 1  # one odd weight first, everything at last
        x[-1] = 1
        exact = reference.run(graph, x).membranes["n1"].ravel().tolist()
        bits = certify(graph).populations[0].float32_bits
        return bits, float32_run(weights, x[:, 0], HIGH) == exact

    found = {steps: run(steps) for steps in range(2, 18)}
    assert all(exact for bits, exact in found.values() if bits <= 24)
    assert max(bits for bits, exact in found.values() if bits <= 24) == 24
    assert not found[17][1]


def test_partial_sums_that_cancel_still_count_in_float32():
    """The composed product is one weight of 1; the sums in the second map are not."""
    wide = np.resize([127.0, -127.0], (1, 140_000))
    wide[0, -1] = -126
    first = Affine(np.ones((wide.size, 1)), np.zeros(wide.size))
    graph = chain(Input((1,)), first, Affine(wide, [0.0]), lif(1))
    certificate = certify(graph)
    assert certificate.populations[0].accumulator == 1
    assert certificate.verdict == (
        "not exact because node 'n1': float32 needs 25 bits for partial sums, has 24"
    )


def test_off_the_grid_and_over_the_limits_are_verdicts_not_errors():
    off = certify(chain(Input((1,)), Affine([[0.1]], [0.0]), lif(1)))
    assert not off.ok
    assert off.verdict.startswith("not exact because the graph is not on the grid")
    over = certify(chain(Input((1,)), Affine([[255.0]], [0.0]), lif(1, tau=DT)))
    assert len(over.breaks) == 2


def test_a_certificate_is_json():
    certificate = certify(random_graph(np.random.default_rng(0), kind="residual"))
    found = json.loads(json.dumps(certificate.to_json()))
    assert found["ok"] is True
    assert found["verdict"] == "spikes and membranes exact"
    assert found["populations"][0]["name"] == "lif0"
    with pytest.raises(GraphError, match="steps is 0"):
        certify(random_graph(np.random.default_rng(0)), 0)


def test_exact_steps_are_those_of_a_certificate_for_them():
    graph = summing(-69906, lif(1, v_threshold=HIGH))
    assert certify(graph, 3).ok
    assert not certify(graph, 4).ok


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(list(KINDS)),
    decay_shift=st.integers(1, 3),
    steps=st.integers(1, 10),
)
def test_whatever_is_certified_is_exact(seed, kind, decay_shift, steps):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind, decay_shift=decay_shift, steps=steps)
    certificate = certify(graph)
    assert certificate.ok or certificate.exact_steps < steps
    if certificate.exact_steps:
        shown = min(steps, certificate.exact_steps)
        assert is_exact(graph, random_inputs(rng, graph, 3, steps=shown))
