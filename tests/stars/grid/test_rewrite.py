"""Truncating decay: by hand, on the way through files, and the same plan as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.from_nir import from_nir, read
from export.to_nir import to_nir, write
from stars.errors import FormatError, GraphError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, CubaLIF
from stars.grid.certificate import certify
from stars.grid.lowering import lower
from stars.grid.rewrite import with_truncating_decay
from stars.testing.assertions import assert_same_membranes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs


def long_graph(seed=0, kind="residual", **options):
    return random_graph(np.random.default_rng(seed), kind=kind, steps=16, **options)


def test_a_decay_truncates_toward_the_leak_on_both_sides():
    node = LIF.uniform((2,), tau=2.0, v_leak=1.0, v_reset=1.0, v_threshold=9.0)
    node = replace(node, membrane_step=0.25)
    v = np.array([[1 + 0.75, 1 - 0.75]])  # 3 steps above, 3 below
    seen = []
    for _ in range(3):
        _, v = node.step(np.zeros((1, 2)), v, 1.0)
        seen.append(v.ravel().tolist())
    assert seen == [[1.25, 0.75], [1, 1], [1, 1]]
    _, v = node.step(np.array([[0.5, -0.5]]), v, 1.0)
    assert v.tolist() == [[1.25, 0.75]]


def cuba(**changes):
    values = {
        "tau_syn": 2.0,
        "tau_mem": 4.0,
        "r": 2.0,
        "v_leak": 0.0,
        "w_in": 1.0,
        "v_threshold": 9.0,
        "v_reset": 0.0,
    }
    fields = {name: np.full(1, value) for name, value in (values | changes).items()}
    return CubaLIF(**fields, membrane_step=0.25)


def test_a_current_truncates_to_what_moves_the_membrane_by_its_step():
    node = cuba()
    # k_v r = 1/2, so h = 1/2: 3/2 is three of them, its half one and a half
    assert node.current_step(1.0).tolist() == [0.5]
    state = np.array([[[1.5], [0.0]], [[-1.5], [0.0]]])
    seen = []
    for _ in range(3):
        _, state = node.step(np.zeros((2, 1)), state, 1.0)
        seen.append(state[:, :, 0].tolist())
    # u = 1/2 adds 1/4 to v; then u = 0, and v = 1/4 is cut to 0
    assert seen == [[[0.5, 0.25], [-0.5, -0.25]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_what_enters_a_current_is_not_truncated():
    _, state = cuba().step(np.array([[0.125]]), np.zeros((1, 2, 1)), 1.0)
    assert state.ravel().tolist() == [0.0625, 0.03125]


def test_a_current_that_has_no_dyadic_step_is_refused():
    with pytest.raises(GraphError, match="every r must be a power of two"):
        cuba(r=3.0)
    plain = replace(cuba(), membrane_step=None)
    assert (plain.decay, cuba().decay) == ("exact", "truncate")
    with pytest.raises(GraphError, match="no step"):
        plain.current_step(1.0)
    with pytest.raises(GraphError, match="must be a power of two, or None"):
        replace(plain, membrane_step=0.3)


def test_what_enters_is_not_truncated():
    node = replace(LIF.uniform((1,), tau=2.0), membrane_step=1.0)
    _, v = node.step(np.array([[0.5]]), np.zeros((1, 1)), 1.0)
    assert v.tolist() == [[0.25]]


def test_a_decay_has_a_name():
    plain = LIF.uniform((1,), tau=2.0)
    assert plain.decay == "exact"
    assert replace(plain, membrane_step=2.0**-9).decay == "truncate"
    assert plain != replace(plain, membrane_step=2.0**-9)


@pytest.mark.parametrize("step", [0.0, -0.5, 0.3, float("nan"), float("inf")])
def test_a_step_is_a_power_of_two(step):
    with pytest.raises(GraphError, match="must be a power of two"):
        replace(LIF.uniform((1,), tau=2.0), membrane_step=step)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_is_that_of_a_short_run_whatever_t(kind):
    graph = long_graph(kind=kind, decay_shift=2)
    truncating = with_truncating_decay(graph)
    before = lower(replace(graph, steps=1))
    after = lower(replace(truncating, steps=64))
    for one, other in zip(before.populations, after.populations, strict=True):
        assert one.exponent == other.exponent
        assert one.threshold == other.threshold
    for one, other in zip(before.connections, after.connections, strict=True):
        assert one.shift == other.shift
        assert (one.weights != other.weights).nnz == 0
    assert with_truncating_decay(truncating) == truncating


def test_its_certificate_knows_no_last_step():
    graph = long_graph(kind="mlp", decay_shift=2)
    breaks = certify(graph, 64).breaks
    assert any("the chip's decay truncates" in found.message for found in breaks)
    certificate = certify(with_truncating_decay(graph), 64)
    assert certificate.ok, certificate.verdict
    assert certificate.exact_steps == 64


def test_float32_is_certified_with_its_decay():
    """At k = 2^-9 the product v (2^9 - 1) needs 9 bits more than v."""
    graph = with_truncating_decay(long_graph(kind="mlp", decay_shift=9))
    assert any("float32 needs" in found.message for found in certify(graph).breaks)


def test_weights_finer_than_the_step_are_refused():
    graph = with_truncating_decay(long_graph(kind="mlp"))
    node = graph.nodes["fc0"]
    assert isinstance(node, Affine)
    finer = replace(node, weight=node.weight + 2.0**-14)
    with pytest.raises(GraphError, match=r"'lif0': its membrane_step of 2\^"):
        lower(graph.replace_nodes({"fc0": finer}))


def test_it_makes_a_difference():
    graph = long_graph()
    inputs = random_inputs(np.random.default_rng(1), graph, 8)
    with pytest.raises(AssertionError, match="membranes diverge"):
        assert_same_membranes(
            reference.run(with_truncating_decay(graph), inputs),
            reference.run(graph, inputs),
        )


@pytest.mark.parametrize("kind", ["residual", "cuba"])
def test_a_nir_file_keeps_it(tmp_path, kind):
    graph = with_truncating_decay(long_graph(kind=kind))
    write(graph, tmp_path / "net.nir")
    assert read(tmp_path / "net.nir") == graph


def test_a_damaged_step_is_told():
    nir_graph = to_nir(with_truncating_decay(long_graph()))
    nir_graph.nodes["lif0"].metadata["stars"]["membrane_step"] = 0.3
    with pytest.raises(FormatError, match=r"node 'lif0': membrane_step is 0\.3 V"):
        from_nir(nir_graph)
