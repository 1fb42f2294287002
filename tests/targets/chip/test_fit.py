"""Fit: every limit of a chip is tried at its edge."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from stars.errors import GraphError, LimitError
from stars.graph.nodes import LIF, Affine, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph
from targets.chip.fit import FitReport, fit
from targets.hardware.limits import (
    LIMITS,
    ChipLimits,
    Limit,
    load_limits,
)

DT = 2.0**-10
ROOMY = 10**9


def chip(**changes: int) -> ChipLimits:
    """A chip that holds anything, but for what is named."""
    values = {**dict.fromkeys(LIMITS, ROOMY), **changes}
    limits = {name: Limit(value, "this test") for name, value in values.items()}
    return ChipLimits("test", "test chip", "", limits)


# --- registers, at their edges ---


@pytest.fixture(scope="module")
def residual() -> SpikingGraph:
    return random_graph(np.random.default_rng(3), kind="residual")


@pytest.fixture(scope="module")
def needs(residual: SpikingGraph) -> dict[str, int]:
    """The largest need of any layer, by the name of its limit."""
    report: FitReport = fit(residual, chip())
    names = report.layers[0].needs
    found = {n: max(layer.needs[n] for layer in report.layers) for n in names}
    assert residual.encoding is not None
    low = residual.encoding.levels().min()
    assert -64 < low < -31  # six bits and the sign
    return {**found, "input_bits": 7}


REGISTERS = [name for name in LIMITS if not name.endswith(("_core", "_chip"))]


@pytest.mark.parametrize("name", REGISTERS)
def test_what_is_exactly_at_a_limit_passes_and_one_more_fails(
    name: str, residual: SpikingGraph, needs: dict[str, int]
):
    need = needs[name]
    assert fit(residual, chip(**{name: need})).ok
    report = fit(residual, chip(**{name: need - 1}))
    assert {v.limit for v in report.violations} == {name}
    for violation in report.violations:
        assert violation.value is not None
        assert violation.value > need - 1 == violation.allowed
        assert violation.source == "this test"
        assert violation.node in residual.nodes


def test_every_violation_is_there_at_once(
    residual: SpikingGraph, needs: dict[str, int]
):
    tight = {n: needs[n] - 1 for n in REGISTERS} | {"input_axons_per_core": 2}
    report = fit(residual, chip(**tight))
    assert {v.limit for v in report.violations} == set(tight)
    with pytest.raises(LimitError) as caught:
        report.require()
    assert len(caught.value.violations) == len(report.violations) > 12


def neuron(weight: float, bias: float = 0.0, **changes: float) -> SpikingGraph:
    nodes = {
        "in": Input((1,)),
        "fc": Affine([[weight]], [bias]),
        "lif": LIF.uniform((1,), **({"tau": 2 * DT} | changes)),
        "dense": Affine([[1.0]], [0.0]),
        "readout": Integrator(np.full(1, 1 / DT)),
        "out": Output(),
    }
    return SpikingGraph(nodes, tuple(pairwise(nodes)), DT, 4)


def test_registers_by_hand():
    """Steps of 2^-1 volts: weight 127 goes as 254, threshold 2000, bias 4095."""
    graph = neuron(127.0, 4095.0, v_threshold=1000.0)
    found = fit(graph, load_limits("loihi1"))
    assert found.ok
    assert found.layers[0].needs == {
        "weight_bits": 9,
        "weight_exponent": -1,
        "delay": 0,
        "threshold_bits": 11,
        "bias_bits": 13,
        "bias_exponent": 6,
        "accumulator_bits": 14,
    }
    assert found.to_json()["synapses"] == 2
    assert (found.cores, found.chips(found.cores)) == (2, 1)


def test_a_bias_and_a_weight_one_step_beyond_are_violations_of_the_chip():
    beyond = fit(neuron(257.0, 4097.0), load_limits("loihi1"))
    assert {v.limit: v.value for v in beyond.violations} == {
        "weight_bits": 11,
        "bias_bits": 14,
    }


def test_what_the_neuron_model_cannot_be_is_a_violation_too():
    report = fit(neuron(1.0, tau=3 * DT), chip())
    (violation,) = report.violations
    assert (violation.node, violation.limit) == ("lif", "neuron model")
    assert "--round-decay" in violation.text


def test_a_graph_off_the_grid_is_refused_with_the_command_that_mends_it():
    with pytest.raises(GraphError, match="'stars quantize' puts it there"):
        fit(neuron(0.1), chip())


def test_chips_are_filled_in_order(residual: SpikingGraph):
    report = fit(residual, chip(compartments_per_core=20, cores_per_chip=7))
    assert report.chips(7) == 1
    assert report.chips(8) == 2
    placement = report.to_json()["placement"]
    assert [row["chip"] for row in placement] == [i // 7 for i in range(report.cores)]
    assert report.to_json()["chips"] == -(-report.cores // 7)


def test_what_has_no_figure_is_not_checked(residual: SpikingGraph):
    full = chip(delay=1)
    assert not fit(
        residual, replace(full, limits={**full.limits, "delay": Limit(0, "x")})
    ).ok
    without = {n: limit for n, limit in full.limits.items() if n != "delay"}
    report = fit(residual, replace(full, limits=without))
    assert report.ok
    assert report.to_json()["unchecked"] == ["delay"]
