"""The emulator: against the reference, against Lava's equations, and at its edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.sparse import csr_array

from stars.errors import DataError, GraphError, LimitError
from stars.graph import reference
from stars.grid.lowering import lower
from stars.grid.plan import Connection, IntegerPlan, Population
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_inputs
from targets.loihi import neurons
from targets.loihi.emulator import Emulator, LoihiEmulator, emulate
from targets.simulators.reference import ReferenceTarget

TARGET = LoihiEmulator()


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(list(KINDS)))
def test_four_steps_at_one_half_equal_the_reference_bit_for_bit(seed, kind):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind)
    inputs = random_inputs(rng, graph, 4)
    actual, desired = TARGET.run(graph, inputs), ReferenceTarget().run(graph, inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)
    assert actual.readout == desired.readout


# --- an independent oracle: Lava's equations in plain integers, sparse products ---


def truncated(value):
    """value / 4096 toward zero, as Lava writes it."""
    return np.sign(value) * (np.abs(value) >> 12)


def lava_step(u, v, a, *, du, dv, bias, vth):
    """One step of lava-nc 0.10, AbstractPyLifModelFixed."""
    u = truncated(u * (4096 - (du + 1))) + (a << 6)
    u = np.where(u > 2**23, u - 2**24, np.where(u <= -(2**23), u + 2**24, u))
    v = truncated(v * (4096 - dv)) + u + bias
    v = np.clip(v, -(2**23) + 1, 2**23 - 1)
    spike = np.zeros(v.shape, bool) if vth is None else v > vth << 6
    return u, np.where(spike, 0, v), spike


def lava_run(plan, inputs):
    """(spikes, membranes, currents) by name, in steps, from integers [T, B, N]."""
    values, membranes, currents = {plan.input_name: inputs}, {}, {}
    for p in plan.populations:
        u = v = np.zeros((inputs.shape[1], math.prod(p.shape)), np.int64)
        mantissa = (p.bias << 6) >> p.bias_exponent
        spikes, voltages, synaptic = [], [], []
        for t in range(len(inputs)):
            a = np.zeros(v.shape, np.int64)
            for c in plan.into(p.name):  # weights 2 w with weight_exp = shift - 1
                total = (2 * c.weights.astype(np.int64) @ values[c.source][t].T).T
                a += (total << c.shift) >> 1
            u, v, s = lava_step(
                u,
                v,
                a,
                du=(4096 >> p.current_decay_shift) - 1,
                dv=0 if p.decay_shift is None else 4096 >> p.decay_shift,
                bias=mantissa << p.bias_exponent,
                vth=p.threshold,
            )
            spikes.append(s)
            voltages.append(v)
            synaptic.append(u)
        values[p.name] = np.array(spikes).astype(np.int64)
        membranes[p.name] = np.array(voltages)
        currents[p.name] = np.array(synaptic)
    return values, membranes, currents


def assert_equals_lavas_equations(plan, q):
    """The emulator on integers [T, B, N] against `lava_run`; returns the latter."""
    inputs = q * 2.0**plan.input_exponent
    inputs = inputs.reshape(*q.shape[:2], *plan.input_shape)
    trace = Emulator.of(plan, len(q)).run(inputs, currents=True)
    spikes, membranes, currents = lava_run(plan, q)
    for p in plan.populations:
        volts = membranes[p.name] * 2.0 ** (p.exponent - 6) + p.offset
        actual = trace.membranes[p.name].reshape(volts.shape)
        np.testing.assert_array_equal(actual, volts)
        synaptic = trace.currents[p.name].reshape(volts.shape)
        np.testing.assert_array_equal(
            synaptic, currents[p.name] * 2.0 ** (p.exponent - 6)
        )
        if p.spiking:
            np.testing.assert_array_equal(
                trace.spikes[p.name].reshape(volts.shape), spikes[p.name] != 0
            )
    return spikes, membranes, currents


def integers(rng, plan, steps, batch):
    """Integers within the input's interval, [T, B, N]."""
    shape = (steps, batch, len(plan.input_low))
    return rng.integers(plan.input_low, plan.input_high + 1, shape)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    decay_shift=st.integers(1, 12),
    kind=st.sampled_from(list(KINDS)),
)
def test_sixteen_steps_equal_lavas_equations_where_the_reference_does_not(
    seed, decay_shift, kind
):
    rng = np.random.default_rng(seed)
    plan = lower(random_graph(rng, kind=kind, decay_shift=decay_shift, steps=4))
    assert_equals_lavas_equations(plan, integers(rng, plan, 16, 3))


def louder(rng, plan):
    """`plan` with currents and biases that wrap and clip, some with a memory."""
    return replace(
        plan,
        connections=tuple(
            replace(c, shift=int(rng.integers(5, 9))) for c in plan.connections
        ),
        populations=tuple(
            replace(
                p,
                bias=rng.integers(-4095, 4096, p.bias.shape),
                bias_exponent=6,
                current_decay_shift=int(rng.choice([0, 0, 1, 3, 12])),
            )
            for p in plan.populations
        ),
    )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    decay_shift=st.integers(1, 6),
    kind=st.sampled_from(list(KINDS)),
)
def test_saturating_graphs_equal_lavas_equations(seed, decay_shift, kind):
    rng = np.random.default_rng(seed)
    plan = lower(random_graph(rng, kind=kind, decay_shift=decay_shift, steps=4))
    plan = louder(rng, plan)
    assert_equals_lavas_equations(plan, integers(rng, plan, 16, 3))


@pytest.mark.parametrize("kind", list(KINDS))
def test_numpy_alone_equals_lavas_equations(kind, monkeypatch):
    assert neurons.numba_is_there()
    monkeypatch.setattr(neurons, "numba_is_there", lambda: False)
    rng = np.random.default_rng(0)
    plan = lower(random_graph(rng, kind=kind, decay_shift=3, steps=4))
    for each in (plan, louder(rng, plan)):
        assert_equals_lavas_equations(each, integers(rng, each, 16, 3))


def test_saturation_is_met():
    rng = np.random.default_rng(3)
    plan = louder(rng, lower(random_graph(rng, kind="conv")))
    _, membranes, _ = assert_equals_lavas_equations(plan, integers(rng, plan, 16, 3))
    assert np.abs(membranes["lif0"]).max() == 2**23 - 1


def test_truncation_is_met():
    """The oracle would prove little if sixteen steps were exact anyway."""
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="residual", steps=4)
    inputs = random_inputs(rng, graph, 8, steps=16)
    actual, desired = TARGET.run(graph, inputs), reference.run(graph, inputs)
    with pytest.raises(AssertionError, match=r"step ([7-9]|1\d)"):
        assert_same_membranes(actual, desired)


def one_neuron(
    weights, *, shift=0, bias=0, threshold=1000, decay_shift=1, current_decay_shift=0
):
    """A plan of one neuron on inputs in -127..127, unit 1 V."""
    size = len(weights)
    population = Population(
        name="lif",
        shape=(1,),
        spiking=threshold is not None,
        exponent=0,
        decay_shift=decay_shift,
        threshold=threshold,
        bias=np.array([bias], np.int64),
        bias_exponent=6,
        latency=0,
        offset=0.0,
        current_decay_shift=current_decay_shift,
    )
    matrix = csr_array(np.array([weights], np.int32))
    return IntegerPlan(
        input_name="in",
        input_shape=(size,),
        input_exponent=0,
        input_low=np.full(size, -127),
        input_high=np.full(size, 127),
        populations=(population,),
        connections=(Connection("in", "lif", matrix, shift, 0),),
        steps=4,
    )


def membranes(plan, inputs):
    x = np.array(inputs, float).reshape(len(inputs), 1, -1)
    return emulate(plan, x).membranes["lif"].ravel().tolist()


def test_decay_truncates_toward_zero_on_both_sides():
    # 1 V is 64 steps: 64, 32, 16, 8, 4, 2, 1, then 1/2 becomes 0
    plan = one_neuron([1])
    assert membranes(plan, [1] + [0] * 7) == [1, *(2.0**-i for i in range(1, 7)), 0]
    assert membranes(plan, [-1] + [0] * 7) == [
        -1,
        *(-(2.0**-i) for i in range(1, 7)),
        0,
    ]


def test_a_current_wraps_once_at_24_bits():
    plan = one_neuron([127] * 9, threshold=None, decay_shift=None)
    # 145161 << 6 leaves 2^23; lava.proc.lif was seen to give -116983
    assert membranes(plan, [[127] * 9]) == [-116983]
    assert membranes(plan, [[-127] * 9]) == [116983]


def currents(plan, inputs):
    x = np.array(inputs, float).reshape(len(inputs), 1, -1)
    trace = Emulator.of(plan, len(x)).run(x, currents=True)
    return trace.currents["lif"].ravel().tolist()


def test_a_current_decays_and_truncates_toward_zero_on_both_sides():
    # 3 V is 192 steps: 192, 96, 48, 24, 12, 6, 3, 1, 0 of them
    plan = one_neuron([1], current_decay_shift=1)
    steps = [192, 96, 48, 24, 12, 6, 3, 1, 0]
    for sign in (1, -1):
        found = currents(plan, [3 * sign] + [0] * 8)
        assert found == [sign * n / 64 for n in steps]


def test_a_membrane_sees_the_current_of_its_own_step():
    # u = 8, 4, 2 V; v = 8, 8 / 2 + 4, 8 / 2 + 2
    plan = one_neuron([1], current_decay_shift=1)
    assert membranes(plan, [8, 0, 0]) == [8, 8, 6]


def test_a_spike_resets_the_membrane_and_not_the_current():
    plan = one_neuron([1], threshold=7, current_decay_shift=1)
    assert membranes(plan, [8, 0, 0]) == [0, 4, 4]
    assert currents(plan, [8, 0, 0]) == [8, 4, 2]


def test_a_current_with_memory_wraps_with_what_is_left_of_it():
    plan = one_neuron([127] * 5, threshold=None, decay_shift=None)
    plan = with_memory(plan, 1)
    # 80645 units fit; half of them and 80645 more are 120967.5, and then 141128.75
    x = [[127] * 5] * 3
    assert currents(plan, x) == [80645, 120967.5, 141128.75 - 2**18]
    assert membranes(plan, x)[0] == 80645


def test_a_current_wraps_once_however_far_it_is():
    """Four times 2^17 units come back by twice 2^17 alone, as in Lava's model."""
    plan = one_neuron([127] * 9, shift=2, threshold=None, decay_shift=None)
    for memory in (0, 1):
        found = currents(with_memory(plan, memory), [[127] * 9])
        assert found == [145161 * 4 - 2**18]


def with_memory(plan, shift):
    (population,) = plan.populations
    changed = replace(population, current_decay_shift=shift)
    return replace(plan, populations=(changed,))


def test_currents_are_recorded_only_when_asked_for():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="cuba")
    inputs = random_inputs(rng, graph, 2)
    assert TARGET.run(graph, inputs).currents == {}
    asked = Emulator.of(lower(graph), 4).run(inputs, currents=True)
    assert set(asked.currents) == set(asked.membranes)


def test_a_membrane_is_clipped_where_only_wrapping_leads():
    """From positive currents alone no bound would have the membrane negative."""
    plan = replace(one_neuron([127] * 9, threshold=100_000), input_low=np.zeros(9, int))
    limit = (2**23 - 1) / 64
    assert membranes(plan, [[127] * 9] * 3) == [-116983, -limit, -limit]


def test_the_register_itself_does_not_wrap_upwards_but_the_membrane_clips():
    plan = one_neuron([64], shift=5, threshold=None, decay_shift=None)
    assert membranes(plan, [[64]]) == [(2**23 - 1) / 64]  # 2^17 << 6 = 2^23 stays
    assert membranes(plan, [[-64]]) == [(2**23 - 1) / 64]  # -2^23 wraps to 2^23


def test_a_membrane_saturates_and_comes_back():
    plan = one_neuron([100], shift=3, threshold=None, decay_shift=None)
    limit = (2**23 - 1) / 64
    assert membranes(plan, [[127], [127], [-127]]) == [101600, limit, limit - 101600]


def test_a_spike_needs_more_than_the_threshold():
    plan = one_neuron([1], threshold=3)
    trace = emulate(plan, np.array([3.0, 2, 3]).reshape(3, 1, 1))
    assert trace.spikes["lif"].ravel().tolist() == [False, True, False]
    assert trace.membranes["lif"].ravel().tolist() == [3, 0, 3]


def test_the_bias_enters_at_every_step():
    assert membranes(one_neuron([1], bias=4), [0, 0, 0]) == [4, 6, 7]


def test_saturating_runs_equal_lavas_equations():
    rng = np.random.default_rng(1)
    for shift, decay_shift in ((0, 1), (3, 2), (6, 1), (8, 4)):
        plan = one_neuron(
            rng.integers(-127, 128, 12),
            shift=shift,
            decay_shift=decay_shift,
            bias=-4000,
            threshold=100_000,
        )
        assert_equals_lavas_equations(plan, rng.integers(-127, 128, (30, 2, 12)))


def test_float64_takes_over_where_float32_would_round():
    rng = np.random.default_rng(2)
    plan = one_neuron(rng.choice([-127, 127, 125], 1200), threshold=None)
    x = rng.choice([-127.0, 127.0, 126.0], (1, 1, 1200))
    exact = int(
        plan.connections[0].weights.toarray()[0].astype(int) @ x[0, 0].astype(int)
    )
    u = exact << 6
    u = u - 2**24 if u > 2**23 else u + 2**24 if u <= -(2**23) else u
    clipped = min(max(u, -(2**23) + 1), 2**23 - 1)
    assert membranes(plan, x) == [clipped / 64]


# --- inputs ---


def test_a_held_input_gives_what_its_copies_give():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="shortcut")
    held = random_inputs(rng, graph, 3)
    assert held.strides[0] == 0
    actual, desired = TARGET.run(graph, held), TARGET.run(graph, held.copy())
    assert_same_membranes(actual, desired)
    assert actual.spikes["lif0"].shape == desired.spikes["lif0"].shape


def test_without_hidden_records_the_readout_is_the_same():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    inputs = random_inputs(rng, graph, 30)
    emulator = Emulator.of(lower(graph), graph.steps)
    few, all_of_it = emulator.run(inputs, hidden=False), emulator.run(inputs)
    assert set(few.membranes) == {"readout"}
    assert few.spikes == {}
    np.testing.assert_array_equal(
        few.membranes["readout"], all_of_it.membranes["readout"]
    )


@pytest.mark.parametrize(
    ("kind", "value"), [("conv", 1 / 64), ("conv", 100.0), ("mlp", 2), ("mlp", 0.5)]
)
def test_an_input_off_its_grid_is_refused(kind, value):
    graph = random_graph(np.random.default_rng(0), kind=kind)
    inputs = np.full((4, 1, *graph.shapes["input"]), value)
    with pytest.raises(DataError, match="allowed are multiples of"):
        TARGET.run(graph, inputs)
    with pytest.raises(DataError, match="expected"):
        TARGET.run(graph, inputs[0])


def test_a_graph_off_the_grid_is_refused():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="mlp", on_grid=False)
    with pytest.raises((GraphError, LimitError)):
        TARGET.run(graph, random_inputs(rng, graph, 1))


def test_it_is_always_there():
    assert TARGET.unavailable() is None
    assert ReferenceTarget().unavailable() is None
    assert (TARGET.name, ReferenceTarget().name) == ("loihi", "reference")
