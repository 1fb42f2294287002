"""The comparison finds one flipped spike and one flipped last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from traces import SPOILED, changed, cut

from stars.errors import DataError
from stars.graph import reference
from stars.graph.trace import Trace
from targets.parity_check.comparison import compare


def test_a_trace_equals_itself(graph, trace):
    found = compare(trace, trace)
    assert found.ok
    assert found.first_divergence is None
    assert found.images == found.decisions_agree == 6
    assert found.neuron_steps == found.membrane_steps == 6 * 4 * graph.neuron_count()
    assert [node.node for node in found.layers] == list(graph.neurons)


def test_one_flipped_spike_is_found_and_named(graph, trace):
    name = graph.spiking[1]
    index = (2, 5, *np.argwhere(~trace.spikes[name][2, 5])[0])
    found = compare(
        changed(trace, "spikes", name, index, value=True), trace, graph=graph
    )
    assert not found.ok
    assert (found.spike_mismatches, found.membrane_mismatches) == (1, 0)
    first = found.first_divergence
    assert (first.node, first.step, first.sample) == (name, 2, 5)
    assert first.neuron == tuple(index[2:])
    assert (first.kind, first.actual, first.desired) == ("spike", 1.0, 0.0)
    threshold = graph.nodes[name].v_threshold[index[2:]]
    assert first.margin == threshold - trace.membranes[name][index] >= 0
    assert name in str(first)


@pytest.mark.parametrize("toward", [np.inf, -np.inf])
def test_one_membrane_off_by_one_ulp_is_found(trace, toward):
    index = (3, 0, 1)
    value = np.nextafter(trace.membranes["readout"][index], toward)
    found = compare(changed(trace, "membranes", "readout", index, value), trace)
    assert (found.spike_mismatches, found.membrane_mismatches) == (0, 1)
    assert (
        found.first_divergence.node,
        found.first_divergence.step,
        found.first_divergence.sample,
    ) == ("readout", 3, 0)
    assert found.first_divergence.kind == "membrane"
    assert found.first_divergence.margin is None


def test_nan_never_equals(trace):
    nan = changed(trace, "membranes", "readout", (0, 0, 0), np.nan)
    assert compare(nan, nan).membrane_mismatches == 1


def test_counts_are_symmetric(graph, inputs, trace):
    other = reference.run(graph, np.array(inputs[:, ::-1]))
    there, back = compare(other, trace), compare(trace, other)
    assert there.layers == back.layers
    assert there.spike_mismatches > 0
    assert there.membrane_mismatches > 0


def test_the_first_divergence_is_by_step_then_by_layer(graph, trace):
    early, late = graph.spiking[0], graph.spiking[-1]
    at = (1, 0, *np.argwhere(~trace.spikes[late][1, 0])[0])
    other = changed(trace, "spikes", late, at, value=True)
    at = (2, 0, *np.argwhere(~trace.spikes[early][2, 0])[0])
    other = changed(other, "spikes", early, at, value=True)
    assert compare(other, trace).first_divergence.node == late
    at = (1, 3, *np.argwhere(~trace.spikes[early][1, 3])[0])
    other = changed(other, "spikes", early, at, value=True)
    assert compare(other, trace).first_divergence.node == early


def test_chunks_add_up_to_the_whole(graph, inputs, trace):
    other = reference.run(graph, np.array(inputs[:, [0, 1, 2, 3, 5, 4]]))
    whole = compare(other, trace, graph=graph)

    def part(trace: Trace, samples: slice) -> Trace:
        return Trace(
            {n: v[:, samples] for n, v in trace.spikes.items()},
            {n: v[:, samples] for n, v in trace.membranes.items()},
            trace.readout,
        )

    parts = [
        compare(part(other, s), part(trace, s), graph=graph, first_sample=s.start)
        for s in (slice(0, 2), slice(2, 5), slice(5, 6))
    ]
    assert parts[0].plus(parts[1]).plus(parts[2]) == whole
    assert whole.first_divergence.sample in (4, 5)


def test_membranes_that_were_not_recorded_are_not_counted_as_compared(trace):
    only = dataclasses.replace(trace, membranes={"readout": trace.membranes["readout"]})
    found = compare(only, trace)
    assert found.ok
    assert found.neuron_steps == compare(trace, trace).neuron_steps
    assert found.membrane_steps == trace.membranes["readout"].size


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_traces_that_do_not_match_are_an_error_not_a_pass(trace, spoil):
    with pytest.raises(DataError, match="traces cannot be compared"):
        compare(spoil(trace), trace)


def test_no_sample_is_an_error(trace):
    empty = cut(trace, np.s_[:, :0])
    with pytest.raises(DataError, match="nothing to compare: 0 samples"):
        compare(empty, empty)


def test_rounding_is_told_from_an_error(trace):
    name, index = "readout", (3, 0, 1)
    scale = np.spacing(np.abs(trace.membranes[name]).max().astype(np.float32))
    for ulps, rounding in ((3, True), (10_000, False)):
        value = trace.membranes[name][index] + ulps * float(scale)
        found = compare(changed(trace, "membranes", name, index, value), trace)
        assert found.only_rounding is rounding
        layer = found.layers[-1]
        assert layer.largest_ulps == pytest.approx(ulps)
        assert layer.largest_difference == pytest.approx(ulps * float(scale))
        assert f"{ulps:.3g} units in the last place of float32" in found.largest
        both = compare(trace, trace).plus(found).layers[-1]
        assert both.largest_ulps == layer.largest_ulps


def test_a_flipped_spike_and_a_membrane_that_is_not_finite_are_no_rounding(
    graph, trace
):
    name = graph.spiking[0]
    index = (0, 0, *np.argwhere(~trace.spikes[name][0, 0])[0])
    flipped = changed(trace, "spikes", name, index, value=True)
    assert not compare(flipped, trace).only_rounding
    broken = compare(changed(trace, "membranes", "readout", (0, 0, 0), np.nan), trace)
    assert not broken.only_rounding
    assert broken.largest == "a membrane of layer 'readout' is not finite"
    assert not broken.plus(broken).only_rounding
    assert not compare(trace, trace).only_rounding
