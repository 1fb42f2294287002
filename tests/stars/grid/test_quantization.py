"""Quantizing: every kind of graph gets on the grid, and loses as little as it can."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from stars.errors import GraphError, LimitError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Integrator,
    Output,
    SumPool2d,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.quantization import grid_of, is_on_grid, quantize, weight_exponent
from stars.grid.rewrite import fold_resistances, round_decays, sum_pools
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.loihi.emulator import LoihiEmulator

DT = 2.0**-10


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, **changes):
    return LIF.uniform(shape, **({"tau": 2 * DT} | changes))


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


# --- the exponent ---


@pytest.mark.parametrize(
    ("max_abs", "exponent"),
    [
        (127, 0),
        (127.5, 1),  # rounds to 128
        (127.49, 0),
        (128, 1),
        (64, -1 + 1),
        (63, -1),
        (1, -6),
        (0.75, -7),
        (0, 0),
    ],
)
def test_weight_exponent_is_the_finest_that_holds_8_bits(max_abs, exponent):
    assert weight_exponent(max_abs) == exponent


@given(st.floats(1e-30, 1e30), st.integers(2, 8))
def test_weight_exponent_uses_the_range_but_does_not_leave_it(value, bits):
    limit = 2 ** (bits - 1) - 1
    exponent = weight_exponent(value, bits=bits)
    assert round(value / 2.0**exponent) <= limit
    assert round(value / 2.0 ** (exponent - 1)) > limit


# --- quantize ---


def float_graph(seed, kind=None):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind, on_grid=False)
    return graph.replace_nodes({n: lif(*graph.shapes[n]) for n in graph.spiking})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_quantize_puts_any_kind_on_the_grid_and_certifies(kind, seed):
    graph = float_graph(seed, kind)
    assert not is_on_grid(graph)
    result = quantize(graph)
    assert is_on_grid(result)
    assert certify(result).verdict == "spikes and membranes exact"
    assert quantize(result) == result
    inputs = random_inputs(np.random.default_rng(seed), graph, 4)
    assert is_exact(result, inputs)


def test_quantize_rounds_to_half_a_step_at_most():
    graph = float_graph(0, "conv")
    result = quantize(graph)
    for name, grid in grid_of(graph).items():
        step = 2.0**grid.weight_exponent
        before, after = graph.nodes[name].weight, result.nodes[name].weight
        assert np.abs(after - before).max() <= step / 2
        assert (after == np.rint(after / step) * step).all()


def test_quantize_leaves_its_argument_alone_and_on_grid_graphs_as_they_are():
    graph = float_graph(0, "shortcut")
    before = {name: node.parameters() for name, node in graph.nodes.items()}
    quantize(graph)
    assert {n: node.parameters() for n, node in graph.nodes.items()} == before
    on_grid = random_graph(np.random.default_rng(0), kind="shortcut")
    assert quantize(on_grid) is on_grid


def test_fewer_bits_make_fewer_levels():
    graph = quantize(float_graph(0, "mlp"), bits=3)
    weight = graph.nodes["fc0"].weight
    assert len(np.unique(weight)) <= 7
    with pytest.raises(GraphError, match="bits is 9; it must be 2 to 8"):
        quantize(float_graph(0, "mlp"), bits=9)
    again = quantize(quantize(float_graph(0, "mlp")), bits=3)
    assert len(np.unique(again.nodes["fc0"].weight)) <= 7


def test_a_mean_pools_area_goes_into_the_next_weights_before_they_are_rounded():
    weight = np.array([[0.5, -0.3]])
    graph = chain(
        Input((2, 7, 7)),
        lif(2, 7, 7),
        AvgPool2d((7, 7), (7, 7)),
        Flatten(),
        Affine(weight, [0.25]),
        integrator(),
    )
    pooled = sum_pools(graph)
    assert pooled.nodes["n1"] == SumPool2d((7, 7), (7, 7))
    np.testing.assert_array_equal(pooled.nodes["n3"].weight, weight * (1 / 49))
    assert pooled.nodes["n3"].bias.tolist() == [0.25]
    result = quantize(graph)
    # .5 / 49 = .0102 = 83.6 steps of 2^-13
    assert result.nodes["n3"].weight.tolist() == [[84 * 2.0**-13, -50 * 2.0**-13]]


def test_a_mean_pool_after_the_weights_goes_into_them_and_their_bias():
    conv = Conv2d(np.ones((1, 1, 1, 1)), [0.5])
    graph = chain(Input((1, 3, 3)), conv, AvgPool2d((3, 3), (3, 3)), lif(1, 1, 1))
    pooled = sum_pools(graph)
    assert pooled.nodes["n0"].weight.item() == 1 / 9
    assert pooled.nodes["n0"].bias.item() == 0.5 / 9


def test_a_mean_pool_without_weights_stays_if_it_is_a_power_of_two():
    graph = chain(Input((1, 2, 2)), AvgPool2d((2, 2), (2, 2)), lif(1, 1, 1))
    assert quantize(graph) == graph
    graph = chain(Input((1, 3, 3)), AvgPool2d((3, 3), (3, 3)), lif(1, 1, 1))
    with pytest.raises(GraphError, match=r"'n0': its factor 0\.11"):
        quantize(graph)


def test_steps_are_doubled_rather_than_a_bias_clipped():
    """200 is 12800 steps of 2^-6, and 6400 of 2^-5, which 13 even bits hold."""
    weight = np.array([[1.0], [0.53]])
    graph = chain(Input((1,)), Affine(weight, [200.0, 33.01]), lif(2))
    node = quantize(graph).nodes["n0"]
    assert node.bias.tolist() == [200.0, 1056 * 2.0**-5]
    assert node.weight.ravel().tolist() == [1.0, 17 * 2.0**-5]


def test_a_bias_that_no_step_in_reach_holds_is_clipped_in_steps_of_two():
    """10000 is 40000 steps of 2^-2; weights keep their step of 2^-6."""
    weight = np.array([[1.0], [0.53]])
    graph = chain(Input((1,)), Affine(weight, [10_000.0, 33.01]), lif(2))
    node = quantize(graph).nodes["n0"]
    assert node.bias.tolist() == [8190 * 2.0**-6, 2112 * 2.0**-6]
    assert node.weight.ravel().tolist() == [1.0, 34 * 2.0**-6]


def test_a_threshold_is_rounded_to_the_grid_of_its_increments():
    graph = chain(Input((1,)), Affine([[1.0]], [0.0]), lif(1, v_threshold=0.3))
    assert quantize(graph).nodes["n1"].v_threshold.item() == 38 * 2.0**-7


def test_quantize_doubles_a_step_where_a_sum_would_leave_its_bits():
    encoding = DirectEncoding((0.5,), (0.1,), exponent=-5)
    weight = np.full((1, 1, 3, 3), 1.9)  # 122 steps of 2^-6; times 9 times 127: 18 bits
    weight[0, 0, 1, 1] = 1.95
    conv = Conv2d(weight, [0.0])
    graph = chain(Input((1, 3, 3)), conv, lif(1, 1, 1), encoding=encoding)
    grid = grid_of(graph)["n0"]
    assert weight_exponent(weight.max()) == -6
    assert grid.weight_exponent == -5
    assert certify(quantize(graph)).ok


def test_steps_stay_fine_where_no_doubling_would_make_float32_exact():
    """After 64 steps of an exact decay a membrane has 63 bits more."""
    weight = np.array([[1.0], [0.53]])
    graph = chain(Input((1,)), Affine(weight, [0.0, 0.0]), lif(2), steps=64)
    assert not certify(quantize(graph)).ok
    assert grid_of(graph)["n0"].weight_exponent == weight_exponent(1.0)


def test_whoever_says_what_is_crowded_the_steps_there_are_doubled_and_no_others():
    graph = float_graph(0, "mlp")
    free = grid_of(graph, crowded=lambda _: [])
    asked = []

    def crowded(grids):
        asked.append(grids["fc1"].weight_exponent)
        return ["lif1"]

    grids = grid_of(graph, crowded=crowded, doublings=3)
    start = free["fc1"].weight_exponent
    assert asked == [start, start + 1, start + 2]
    assert grids.pop("fc1").weight_exponent == start + 3
    assert all(grids[name] == free[name] for name in grids if name != "fc1")


def test_branches_too_far_apart_are_brought_together():
    rng = np.random.default_rng(0)
    nodes = {
        "in": Input((4,)),
        "wide": Affine(rng.normal(size=(2, 4)) * 2.0**6, np.zeros(2)),
        "fine": Affine(rng.normal(size=(2, 4)) * 2.0**-6, np.zeros(2)),
        "lif": lif(2),
        "out": Output(),
    }
    edges = (("in", "wide"), ("in", "fine"), ("wide", "lif"), ("fine", "lif"))
    graph = SpikingGraph(nodes, (*edges, ("lif", "out")), DT, 4)
    assert certify(quantize(graph)).ok


def test_what_rounding_cannot_mend_is_refused():
    graph = chain(Input((1,)), Affine([[0.1]], [0.0]), lif(1, tau=3 * DT))
    with pytest.raises(LimitError, match="k = dt / tau"):
        quantize(graph)
    uneven = LIF(*(np.full((1, 1, 2), x) for x in (2 * DT, 1.0, 0.0, 1.0, 0.0)))
    uneven = replace(uneven, r=np.array([[[0.1, 0.2]]]))
    conv = Conv2d([[[[0.1]]]], [0.0])
    with pytest.raises(GraphError, match=r"r\[0, 0, 0\] is 0\.1"):
        quantize(chain(Input((1, 1, 2)), conv, uneven))


cuba = partial(CubaLIF.uniform, tau_syn=4 * DT, tau_mem=2 * DT, w_in=4.0)


def test_a_synaptic_current_is_put_on_the_grid():
    rng = np.random.default_rng(5)
    nodes = (
        Affine(rng.normal(size=(12, 6)), np.zeros(12)),
        cuba((12,), r=1.7, w_in=3.1, v_threshold=1.03),
        Affine(rng.normal(size=(4, 12)), np.zeros(4)),
        Integrator(np.full(4, 1 / DT)),
    )
    graph = chain(Input((6,)), *nodes)
    inputs = random_inputs(rng, graph, 32)
    folded = fold_resistances(graph)
    before, after = reference.run(graph, inputs), reference.run(folded, inputs)
    assert before.spikes["n1"].any()
    assert_same_spikes(after, before)
    result = quantize(graph)
    assert (result.nodes["n1"].r == 1).all()
    assert (result.nodes["n1"].w_in == 1).all()
    assert certify(result).ok
    found = reference.run(result, inputs)
    assert (found.spikes["n1"] == before.spikes["n1"]).mean() > 0.98


def test_a_resistance_that_w_in_takes_back_is_folded_all_the_same():
    graph = chain(Input((1,)), Affine([[1.0]], [0.0]), cuba((1,), r=3.0, w_in=4 / 3))
    folded = fold_resistances(graph)
    assert (folded.nodes["n1"].r, folded.nodes["n1"].w_in) == (1, 1)
    assert folded.nodes["n0"].weight == 4


def test_both_decays_of_a_current_are_rounded():
    node = cuba((1,), tau_syn=1.1 * DT, tau_mem=3.1 * DT)
    graph = chain(Input((1,)), Affine([[1.0]], [0.0]), node)
    with pytest.raises(LimitError, match=r"(?s)dt / tau_mem.*dt / tau_syn"):
        quantize(graph)
    rounded = round_decays(graph).nodes["n1"]
    assert (rounded.tau_syn, rounded.tau_mem) == (DT, 4 * DT)


def test_currents_with_memory_leave_room_for_what_is_kept():
    """Sums of 2^15 units, four times which a current of tau = 4 dt may reach."""
    weights = np.full((1, 300), 127.0)
    plain = chain(Input((300,)), Affine(weights, [0.0]), lif(1, v_threshold=64))
    memory = chain(
        Input((300,)), Affine(weights, [0.0]), cuba((1,), v_threshold=64), steps=16
    )
    (few,), (many,) = (certify(g, 3).populations for g in (plain, memory))
    assert few.accumulator == 300 * 127
    assert 2 * few.accumulator < many.accumulator < 4 * few.accumulator
    breaks = certify(memory, 16).breaks
    assert any("sums of currents" in b.message and b.step == 7 for b in breaks)


def test_a_resistance_goes_into_the_weights_before_it():
    rng = np.random.default_rng(3)
    nodes = (
        Conv2d(rng.normal(size=(3, 1, 2, 2)), rng.normal(size=3)),
        lif(3, 3, 3, r=1.7),
        Flatten(),
        Affine(rng.normal(size=(4, 27)), rng.normal(size=4)),
        Integrator(np.array([3.0, 4.0, 5.0, 6.0])),
    )
    graph = chain(Input((1, 4, 4)), *nodes)
    folded = fold_resistances(graph)
    assert folded.nodes["n1"].r.max() == 1
    assert (DT * folded.nodes["n4"].r == 1).all()
    inputs = random_inputs(rng, graph, 4)
    before, after = reference.run(graph, inputs), reference.run(folded, inputs)
    assert before.spikes["n1"].any()
    assert_same_spikes(after, before)
    np.testing.assert_allclose(
        after.membranes["n4"], before.membranes["n4"], rtol=1e-12
    )
    assert certify(quantize(graph)).ok


def test_a_resistance_before_which_a_pool_stands_goes_through_it():
    conv = Conv2d(np.full((1, 1, 1, 1), 0.5), [0.25])
    pool = SumPool2d((2, 2), (2, 2))
    graph = chain(Input((1, 2, 2)), conv, pool, lif(1, 1, 1, r=3.0))
    folded = fold_resistances(graph)
    assert folded.nodes["n0"].weight.item() == 1.5
    assert folded.nodes["n0"].bias.item() == 0.75


def test_weights_that_two_populations_read_keep_their_resistances():
    nodes = {
        "in": Input((1,)),
        "fc": Affine([[1.0]], [0.0]),
        "a": lif(1, r=3.0),
        "b": lif(1),
        "both": Affine([[1.0]], [0.0]),
        "readout": integrator(),
        "out": Output(),
    }
    edges = [("in", "fc"), ("fc", "a"), ("fc", "b"), ("a", "both"), ("b", "both")]
    edges += [("both", "readout"), ("readout", "out")]
    graph = SpikingGraph(nodes, tuple(edges), DT, 4)
    assert fold_resistances(graph) == graph


@pytest.mark.parametrize(
    ("ratio", "shift"),
    [(1, 1), (2, 1), (2.8, 1), (2.9, 2), (3, 2), (5.6, 2), (1e9, 12)],
)
def test_time_constants_go_to_the_nearest_power_of_two(ratio, shift):
    """By ratio: 2.8 / 2 is less than 4 / 2.8, 2.9 / 2 is more than 4 / 2.9."""
    graph = chain(Input((1,)), Affine([[0.1]], [0.0]), lif(1, tau=ratio * DT))
    rounded = round_decays(graph)
    assert rounded.nodes["n1"].tau.item() == DT * 2**shift


def test_quantize_rounds_time_constants_on_request():
    graph = chain(Input((1,)), Affine([[0.1]], [0.0]), lif(1, tau=3 * DT))
    result = quantize(graph, round_decay=True)
    assert result.nodes["n1"].tau.item() == 4 * DT
    assert certify(result).ok


def test_a_time_constant_that_is_exact_already_keeps_its_bits():
    tau = np.nextafter(0.004, 1)
    graph = chain(Input((1,)), Affine([[0.1]], [0.0]), LIF.uniform((1,), tau=0.004))
    graph = replace(graph, dt=0.002)
    assert round_decays(graph) == graph
    other = graph.replace_nodes({"n1": LIF.uniform((1,), tau=tau)})
    assert round_decays(other).nodes["n1"].tau.item() == 0.004
