"""The memory and operations of C against the limits of microcontrollers."""

from dataclasses import replace

import numpy as np
import pytest

from export.c.folder import write
from export.golden import golden_inputs
from stars.errors import LimitError
from stars.graph import reference
from stars.testing.random_graphs import random_graph
from targets.chip.program import CODE_BYTES, fit_program
from targets.hardware.limits import MICROCONTROLLERS, ChipLimits, Limit, load_limits


@pytest.fixture(scope="module")
def graph():
    return random_graph(np.random.default_rng(5), kind="mlp")


@pytest.mark.parametrize("chip", MICROCONTROLLERS)
def test_a_small_network_fits_every_microcontroller(chip, graph, tmp_path):
    found = fit_program(graph, load_limits(chip))
    assert found.ok
    found.require()
    manifest = write(graph, tmp_path / "c")
    assert found.flash == manifest["flash_bytes"] + CODE_BYTES
    assert found.ram == manifest["ram_bytes"] + manifest["stack_bytes"]
    assert found.to_json()["chip"] == chip
    sizes = found.to_json()["layers"]
    assert sum(row["flash_bytes"] for row in sizes) == manifest["flash_bytes"]


def test_operations_are_those_of_the_golden_inputs(graph):
    trace = reference.run(graph, golden_inputs(graph))
    fan_out = {
        a: np.count_nonzero(graph.nodes[b].weight, axis=0)
        for a, b in (("input", "fc0"), ("lif0", "fc1"), ("lif1", "dense"))
    }
    fired = {"input": golden_inputs(graph), **trace.spikes}
    adds = sum((fired[name] * each).sum() for name, each in fan_out.items())
    found = fit_program(graph, load_limits("cortex-m4"))
    updates = graph.steps * graph.neuron_count()
    assert found.operations == {
        "accumulates": adds / trace.batch,
        "multiplications": 0,
        "updates": updates,
    }
    assert found.least_ms == pytest.approx((adds / trace.batch + updates) / 64e3)


def test_every_memory_that_is_too_small_is_named_with_its_source(graph):
    chip = load_limits("rp2040")
    small = {n: Limit(100, f"source of {n}") for n in ("flash_bytes", "ram_bytes")}
    tiny: ChipLimits = replace(chip, limits={**chip.limits, **small})
    found = fit_program(graph, tiny)
    assert [(v.limit, v.allowed) for v in found.violations] == [
        ("flash_bytes", 100),
        ("ram_bytes", 100),
    ]
    assert found.violations[0].value == found.flash
    with pytest.raises(LimitError, match=r"at most 100: [\s\S]*source of ram_bytes"):
        found.require()
