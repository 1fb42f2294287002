"""Law: every target equals the reference, always through the exported file.

And its converse: one weight off by one grid step, under any target, is found, and the
first place is named.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from export.from_nir import read
from export.to_nir import write
from stars.errors import LimitError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.nodes import (
    LIF,
    Affine,
    Conv2d,
    CubaLIF,
    Delay,
    Input,
    Integrator,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.exact import dyadic
from stars.grid.lowering import lower
from stars.grid.rewrite import with_truncating_decay
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import FREE_KINDS, KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets import table
from targets.base import Target
from targets.c.cross import MOST_IMAGES
from targets.inputs import ArrayInputs
from targets.parity_check.comparison import compare
from targets.parity_check.lane import Options
from targets.parity_check.report import TOLERANCES
from targets.parity_check.run import run_parity

SLOW = {"lava-float", "lava-fixed"}  # a process of its own per run
CROSS = set(MOST_IMAGES)  # see c/test_cross.py
ALL = [
    pytest.param(name, marks=[pytest.mark.lava] if name in SLOW else [])
    for name in table.TARGETS
    if name not in CROSS
]
COMPILED = {"c", *CROSS}  # see c/test_target.py
QUICK = [name for name in table.TARGETS if name not in SLOW | COMPILED]


@pytest.fixture
def name(request) -> str:
    """The name of the target that a test is run for."""
    return request.param


@pytest.fixture
def target(request, name) -> Target:
    """The target `name`; without Lava's environment its tests skip, or fail in CI."""
    if name in SLOW:
        request.getfixturevalue("lava_python")
    found = table.load(name)
    assert found.unavailable() is None
    assert found.name == name
    return found


def through_file(graph: SpikingGraph, path: Path) -> SpikingGraph:
    write(graph, path)
    return read(path)


def assert_equals_reference(
    target: Target, graph: SpikingGraph, inputs, steps: int | None = None
) -> None:
    actual, desired = target.run(graph, inputs), reference.run(graph, inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)
    found = compare(actual, desired)
    assert found.ok
    steps = graph.steps if steps is None else steps
    assert found.neuron_steps == found.images * steps * graph.neuron_count()


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(list(KINDS)),
    decay_shift=st.sampled_from([1, 2]),
)
def test_a_target_equals_the_reference(name, tmp_path_factory, seed, kind, decay_shift):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind, decay_shift=decay_shift)
    inputs = random_inputs(rng, graph, 3)
    path = tmp_path_factory.getbasetemp() / f"{name}.nir"
    assert_equals_reference(table.load(name), through_file(graph, path), inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALL, indirect=True)
def test_every_kind_of_graph_runs_as_the_reference_does(target, kind, tmp_path):
    rng = np.random.default_rng(7)
    graph = through_file(random_graph(rng, kind=kind), tmp_path / "net.nir")
    assert_equals_reference(target, graph, random_inputs(rng, graph, 3))


@pytest.mark.parametrize("name", ["norse", "onnx"])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(list(FREE_KINDS)))
def test_cycles_and_every_other_neuron_run_as_the_reference_does(
    name, tmp_path_factory, seed, kind
):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / f"{name}.nir"
    graph = through_file(random_graph(rng, kind=kind), path)
    assert_equals_reference(table.load(name), graph, random_inputs(rng, graph, 3))


@pytest.mark.parametrize("name", ["norse", "onnx"])
@pytest.mark.parametrize("steps", [1, 2])
def test_weights_into_a_delay_in_a_cycle_run_as_the_reference_does(name, steps):
    nodes = {
        "a_rec": Affine([[0, 4], [-2, 0]], [0.5, 0]),  # comes before the input by name
        "in": Input((2,)),
        "lif": LIF.uniform((2,), tau=2.0),
        "wait": Delay([steps, 3]),
        "out": Output(),
    }
    edges = (("in", "lif"), ("lif", "a_rec"), ("a_rec", "wait"), ("wait", "lif"))
    graph = SpikingGraph(nodes, (*edges, ("lif", "out")), dt=1.0, steps=9)
    assert graph.delayed == {("a_rec", "wait")}
    inputs = np.random.default_rng(0).integers(0, 4, (9, 5, 2)).astype(float)
    assert_equals_reference(table.load(name), graph, inputs)
    assert 0.1 < reference.run(graph, inputs).rates()["lif"] < 0.6


@pytest.mark.parametrize("name", ["loihi", "lava-fixed", "c"])
def test_what_has_no_integers_is_refused_with_every_reason(name):
    graph = random_graph(np.random.default_rng(0), kind="recurrent")
    with pytest.raises(UnsupportedNodeError) as caught:
        table.load(name).run(graph, random_inputs(np.random.default_rng(0), graph, 1))
    for word in (
        *("'wait': 'Delay'", "supported are ['Affine'", "Delay: Lava streams inputs"),
        *("'lif0' -> 'rec0'", "'lif1' -> 'rec1'", "'lif1' -> 'wait'", "one step late"),
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ALL, indirect=True)
@pytest.mark.parametrize("kind", ["mlp", "residual", "shortcut", "cuba"])
def test_a_truncating_decay_is_exact_where_a_plain_one_is_not(
    name, target, kind, tmp_path
):
    """Sixteen steps: Lava fixed_pt, and all that is held against it, truncate alike."""
    rng = np.random.default_rng(4)
    plain = random_graph(rng, kind=kind, steps=16)
    graph = through_file(with_truncating_decay(plain), tmp_path / "net.nir")
    assert certify(graph).ok
    inputs = random_inputs(rng, graph, 6)
    if name == "lava-float":
        with pytest.raises(UnsupportedNodeError, match="cannot truncate"):
            target.run(graph, inputs)
        return
    desired = reference.run(graph, inputs)
    assert min(desired.rates().values()) > 0.01
    with pytest.raises(AssertionError, match="membranes diverge"):
        assert_same_membranes(reference.run(plain, inputs), desired)
    actual = target.run(graph, inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)


def current_network(rng: np.random.Generator, steps: int) -> SpikingGraph:
    """Spikes into a synaptic current of any decays, resistances, resets; a readout."""
    i, j = int(rng.integers(0, 5)), int(rng.integers(1, 5))
    size, dt = 5, 2.0**-10
    reset = float(rng.integers(-2, 3)) / 4
    node = CubaLIF(
        tau_syn=np.full(size, dt * 2**i),
        tau_mem=np.full(size, dt * 2**j),
        r=np.full(size, rng.choice([-2.0, 0.5, 1.0, 4.0])),
        v_leak=np.full(size, reset),
        w_in=rng.choice([-0.75, 1.0, 3.0], size),
        v_threshold=np.full(size, reset + 2.0 ** rng.integers(0, 6)),
        v_reset=np.full(size, reset),
    )
    weights = rng.integers(-10, 11, (size, 8)) * 2.0 ** rng.integers(-4, 5)
    nodes = {
        "in": Input((8,)),
        "fc": Affine(weights, np.zeros(size)),
        "cuba": node,
        "dense": Affine(rng.integers(-3, 4, (2, size)), [1, 0]),
        "sum": Integrator(np.full(2, 1 / dt)),
        "out": Output(),
    }
    return SpikingGraph(nodes, tuple(itertools.pairwise(nodes)), dt, steps)


@pytest.mark.parametrize("name", ["loihi", "norse", "onnx"])
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), truncate=st.booleans())
def test_a_synaptic_current_is_exact_as_long_as_its_certificate_says(
    name, seed, truncate
):
    rng = np.random.default_rng(seed)
    graph = current_network(rng, int(rng.integers(1, 17)))
    try:
        graph = with_truncating_decay(graph) if truncate else graph
        lower(graph)
    except LimitError:
        assume(False)
    steps = min(certify(graph).exact_steps, 24)
    assume(steps)
    assert_equals_reference(
        table.load(name), graph, random_inputs(rng, graph, 16, steps=steps), steps
    )


def off_by_one_step(graph: SpikingGraph, name: str, fired: np.ndarray) -> SpikingGraph:
    """`graph` with one weight of node `name` one grid step nearer to zero.

    Args:
        graph: on the grid.
        name: a convolution or a dense matrix.
        fired: its mean input by channel; the weight of the busiest one is changed.
    """
    node = graph.nodes[name]
    assert isinstance(node, Conv2d | Affine)
    step = 2.0 ** dyadic(node.weight, "weight").exponent
    size = np.abs(node.weight) * fired.reshape(1, -1, *[1] * (node.weight.ndim - 2))
    place = np.unravel_index(size.argmax(), size.shape)
    weight = node.weight.copy()
    weight[place] -= np.sign(weight[place]) * step
    return graph.replace_nodes({name: dataclasses.replace(node, weight=weight)})


@pytest.mark.parametrize("name", ALL, indirect=True)
def test_one_weight_off_by_one_grid_step_is_found_and_named(name, target, tmp_path):
    rng = np.random.default_rng(11)
    graph = through_file(random_graph(rng, kind="residual"), tmp_path / "net.nir")
    inputs = random_inputs(rng, graph, 4)
    desired = reference.run(graph, inputs)
    fired = desired.spikes["lif0"].mean(axis=(0, 1, 3, 4))
    broken = off_by_one_step(graph, "block0_conv0", fired)
    broken = through_file(broken, tmp_path / "broken.nir")
    changed = broken.nodes["block0_conv0"].weight != graph.nodes["block0_conv0"].weight
    assert changed.sum() == 1

    others = [t for t in ("reference", "norse") if t != name]
    report = run_parity(
        graph,
        ArrayInputs(inputs),
        [target, *(table.load(other) for other in others)],
        Options(substitutes={name: broken}),
    )
    assert not report.ok
    assert {t.name for t in report.targets if t.ok} == set(others)
    found = report.targets[0]
    truth = compare(reference.run(broken, inputs), desired, graph=graph)
    assert found.spike_mismatches == truth.spike_mismatches
    assert found.membrane_mismatches == truth.membrane_mismatches > 0
    assert found.first_divergence == truth.first_divergence
    assert found.first_divergence.node == "block0_lif0"
    assert found.first_divergence.step in range(graph.steps)
    assert len(found.first_divergence.neuron) == 3


def test_every_target_has_a_tolerance_row():
    assert set(table.TARGETS) <= set(TOLERANCES)
