"""The lowering to integers: by hand, what it refuses, and its file."""

from __future__ import annotations

import json
import zipfile
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from stars import compose
from stars.encode import DirectEncoding
from stars.errors import FormatError, GraphError, LimitError, UnsupportedNodeError
from stars.graph import SpikingGraph
from stars.lowering import lower
from stars.nodes import (
    IF,
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    CubaLIF,
    Flatten,
    Input,
    Integrator,
    Map,
    Output,
    SumPool2d,
)
from stars.plan_file import read_plan, write_plan
from stars.testing import KINDS, random_graph

DT = 2.0**-10


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, tau=2 * DT, **changes):
    return LIF.uniform(shape, tau=tau, **changes)


def affine(weight, bias=None):
    return Affine(weight, np.zeros(len(weight)) if bias is None else bias)


def test_weights_bias_and_threshold_by_hand():
    node = lif(2, r=2, v_threshold=1.25, v_leak=0.25, v_reset=0.25)
    graph = chain(Input((2,)), affine([[1.5, -0.25], [0, 3]], [0.75, 0]), node)
    plan = lower(graph)
    (population,), (connection,) = plan.populations, plan.connections
    # k r = 1, so that the finest of 1.5, .25, 3, .75 and the threshold 1 is 2^-2
    assert population.exponent == -2
    assert connection.weights.toarray().tolist() == [[6, -1], [0, 12]]
    assert (connection.shift, connection.delay) == (0, 0)
    assert population.bias.tolist() == [3, 0]
    assert (population.threshold, population.decay_shift) == (4, 1)
    assert (population.offset, population.latency) == (0.25, 0)


cuba = partial(CubaLIF.uniform, tau_syn=4 * DT, tau_mem=2 * DT, w_in=4.0)


def test_a_current_with_memory_by_hand():
    node = cuba((1,), r=2, v_threshold=8)
    plan = lower(chain(Input((1,)), affine([[3.0]]), node))
    (population,), (connection,) = plan.populations, plan.connections
    # k_u w_in k_v r = 1: what arrives is 3 V
    assert connection.weights.toarray() * 2.0**population.exponent == [[3]]
    assert (population.decay_shift, population.current_decay_shift) == (1, 2)
    assert population.threshold * 2.0**population.exponent == 8
    assert population.finest_shift == 2


def test_a_long_run_makes_the_unit_finer_for_the_slower_decay():
    def unit(steps):
        graph = chain(Input((1,)), affine([[1.0]]), cuba((1,)), steps=steps)
        return lower(graph).populations[0].exponent

    # the current's last bit is 2 bits finer after each decay, 6 are there
    assert [unit(steps) for steps in (4, 5, 6)] == [-1, -3, -5]


def test_a_current_without_memory_is_a_lif():
    graph = chain(Input((1,)), affine([[1.5]], [0.5]), cuba((1,), tau_syn=DT, w_in=1.0))
    plan = lower(graph)
    expected = lower(chain(Input((1,)), affine([[1.5]], [0.5]), lif(1)))
    (left,), (right,) = plan.populations, expected.populations
    assert (left.bias.tolist(), left.threshold) == (
        right.bias.tolist(),
        right.threshold,
    )
    assert left.current_decay_shift == 0


def integrate_and_fire(*shape, **changes):
    values = {"r": 1 / DT, "v_threshold": 1.0, "v_reset": 0.0}
    return IF(**{n: np.full(shape, v) for n, v in (values | changes).items()})


def test_an_if_by_hand():
    node = integrate_and_fire(1, r=2 / DT, v_threshold=8)
    plan = lower(chain(Input((1,)), affine([[3.0]], [0.5]), node))
    (population,), (connection,) = plan.populations, plan.connections
    assert population.exponent == 0  # increments of 6 and 1 volts
    assert connection.weights.toarray().tolist() == [[6]]
    assert population.bias.tolist() == [1]
    assert (population.threshold, population.decay_shift) == (8, None)
    assert (population.spiking, population.offset) == (True, 0)


def test_the_unit_is_the_largest_power_of_two_that_divides_all():
    plan = lower(chain(Input((1,)), affine([[64.0]]), lif(1, v_threshold=16)))
    assert plan.populations[0].exponent == 4  # 32 = 2 units, the threshold 1
    assert plan.connections[0].weights.toarray().tolist() == [[2]]


def test_an_images_exponent_is_in_the_first_unit():
    encoding = DirectEncoding((0.5,), (0.25,), exponent=-5)
    graph = chain(
        Input((1, 1, 1)), Conv2d([[[[3.0]]]], [0.0]), lif(1, 1, 1), encoding=encoding
    )
    plan = lower(graph)
    assert plan.populations[0].exponent == -6  # 3 times 2^-5 times k
    assert (plan.input_low.tolist(), plan.input_high.tolist()) == ([-64], [64])
    assert plan.input_graded


def test_a_mean_pool_and_a_convolution_are_one_product():
    conv = Conv2d(np.array([[[[1.0, 2.0]]]]), [0.5])
    graph = chain(Input((1, 2, 4)), AvgPool2d((2, 2), (2, 2)), conv, lif(1, 1, 1))
    plan = lower(graph)
    weights = (
        plan.connections[0].weights.toarray() * 2.0 ** plan.populations[0].exponent
    )
    assert weights.tolist() == [[0.125, 0.125, 0.25, 0.25] * 2]


def test_biases_go_through_the_maps_that_follow():
    dense = affine(np.array([[1.0, -2.0]]), [0.5])
    graph = chain(Input((1,)), affine([[1.0], [1.0]], [3.0, 1.0]), dense, lif(1))
    plan = lower(graph)
    assert plan.populations[0].bias * 2.0 ** plan.populations[0].exponent == [0.75]


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        (Conv2d(np.arange(-36.0, 36).reshape(4, 2, 3, 3), [1, 2, 3, 4]), (2, 5, 4)),
        (
            Conv2d(
                np.arange(48.0).reshape(4, 2, 2, 3),
                [0] * 4,
                stride=(2, 1),
                padding=(1, 2),
                dilation=(1, 2),
                groups=2,
            ),
            (4, 5, 6),
        ),
        (SumPool2d((2, 3), (1, 2)), (2, 4, 5)),
        (AvgPool2d((2, 2), (2, 2)), (1, 4, 5)),
        (Flatten(), (2, 2, 3)),
        (Affine(np.arange(6.0).reshape(2, 3), [1, -1]), (3,)),
    ],
)
def test_an_unrolled_map_is_the_map(node, shape):
    matrix, bias = compose.unroll(node, shape)
    x = np.random.default_rng(0).integers(-9, 10, (3, *shape)).astype(float)
    flat = (matrix.mantissas @ x.reshape(3, -1).T).T * 2.0**matrix.exponent
    result = flat + bias.mantissas * 2.0**bias.exponent
    np.testing.assert_array_equal(result, node.apply(x).reshape(3, -1))


def test_branches_have_a_latency_and_the_early_one_a_delay():
    plan = lower(random_graph(np.random.default_rng(0), kind="residual"))
    latency = {p.name: p.latency for p in plan.populations}
    assert latency == {
        "lif0": 0,
        "block0_lif0": 1,
        "block0_lif1": 2,
        "block1_lif0": 3,
        "block1_lif1": 4,
        "readout": 5,
    }
    delays = {(c.source, c.target): c.delay for c in plan.connections}
    assert {edge for edge, delay in delays.items() if delay} == {
        ("lif0", "block0_lif1"),
        ("block0_lif1", "block1_lif1"),
    }


def test_branches_of_different_steps_have_one_unit_and_left_shifts():
    nodes = {
        "in": Input((1,)),
        "coarse": affine([[100 * 2.0**4]]),
        "fine": affine([[3 * 2.0**-2]]),
        "lif": lif(1, v_threshold=4),
        "out": Output(),
    }
    edges = (("in", "coarse"), ("in", "fine"), ("coarse", "lif"), ("fine", "lif"))
    graph = SpikingGraph(nodes, (*edges, ("lif", "out")), DT, 4)
    plan = lower(graph)
    assert plan.populations[0].exponent == -3
    # 1600 k = 800 V = 6400 units = 100 << 6; 6 bits do not fit into 100, which has 7
    assert [(c.weights.toarray().item(), c.shift) for c in plan.connections] == [
        (100, 6),
        (3, 0),
    ]


def test_a_long_run_makes_the_unit_finer_where_there_is_room():
    def unit(steps):
        graph = chain(Input((1,)), affine([[3.0]]), lif(1, v_threshold=4), steps=steps)
        return lower(graph).populations[0].exponent

    # 6 bits below the unit serve 6 decays; every further one takes another
    assert [unit(steps) for steps in (4, 7, 8, 10)] == [-1, -1, -2, -4]


def spread(weights, **changes):
    values = {"v_leak": 0.0, "v_reset": 0.0, "tau": 2 * DT, **changes}
    return chain(Input((1,)), affine(weights), lif(len(weights), **values))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (spread([[1.0]], tau=3 * DT), "k = dt / tau is 0.333"),
        (spread([[1.0]], tau=DT), "k = dt / tau is 1.0"),
        (spread([[1.0]], v_leak=0.5), r"v_leak is 0.5 and v_reset 0.0"),
        (spread([[129.0], [1.0]]), "composed weights reach 129, 8 bits and a sign"),
        (spread([[2.0**-13]], v_threshold=64), "the threshold is 1048576 units"),
        (
            chain(Input((1,)), affine([[1.0]], [0.5]), cuba((1,))),
            "'n1': a bias arrives with its input and would enter its synaptic current",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), cuba((1,), r=3.0)),
            "r lies in 3.0 to 3.0; before a current with memory",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), cuba((1,), tau_syn=3 * DT)),
            "dt / tau_syn is 0.333.*j from 0 to 12",
        ),
        (
            chain(Input((1,)), affine([[1.0]]), integrate_and_fire(1, v_reset=-0.5)),
            "v_reset is -0.5, expected 0",
        ),
        (
            chain(
                Input((1,)),
                affine([[1.0], [1.0]]),
                integrate_and_fire(2, v_threshold=[1.0, 2.0]),
            ),
            "v_threshold differs from neuron to neuron",
        ),
        (
            chain(Input((1,)), affine([[1.0]], [4097.0]), lif(1)),
            "the bias is up to 4097 units",
        ),
        (
            chain(
                Input((1,)),
                affine([[1.0]]),
                LIF([DT * 2, DT * 4][:1], [1], [0], [1], [0]),
                affine([[1.0], [1.0]]),
                LIF([DT * 2, DT * 4], [1, 1], [0, 0], [1, 1], [0, 0]),
            ),
            "node 'n3': tau differs from neuron to neuron",
        ),
    ],
)
def test_what_does_not_fit_the_chip_is_refused(graph, message):
    with pytest.raises(LimitError, match=message):
        lower(graph)


def test_every_violation_is_told_at_once():
    node = lif(2, tau=3 * DT, v_leak=0.5)
    graph = chain(
        Input((1,)), affine([[129.0], [1.0]]), node, affine([[1.0, 255.0]]), lif(1)
    )
    with pytest.raises(LimitError) as caught:
        lower(graph)
    assert len(caught.value.violations) == 4
    assert "n0" in caught.value.violations[2]


def test_branches_too_far_apart_are_refused():
    nodes = {
        "in": Input((1,)),
        "coarse": affine([[127 * 2.0**9]]),
        "fine": affine([[1.0]]),
        "lif": lif(1, v_threshold=4),
        "out": Output(),
    }
    edges = (("in", "coarse"), ("in", "fine"), ("coarse", "lif"), ("fine", "lif"))
    with pytest.raises(LimitError, match="needs a left shift of 9"):
        lower(SpikingGraph(nodes, (*edges, ("lif", "out")), DT, 4))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (spread([[1.0], [1 / 3]]), r"node 'n0': weight\[1, 0\] is 0.333.*it needs 5"),
        (spread([[1.0]], v_threshold=0.3), "node 'n1': v_threshold.*is 0.3"),
        (chain(Input((1,)), affine([[1.0]], [0.1]), lif(1)), r"bias\[0\] is 0.1"),
        (
            chain(Input((1, 3, 3)), AvgPool2d((3, 3), (3, 3)), lif(1, 1, 1)),
            "node 'n0': scale is 0.111",
        ),
        (chain(Input((1,)), affine([[1.0]]), lif(1, r=0.1)), "node 'n1': r"),
    ],
)
def test_what_is_off_the_grid_is_refused(graph, message):
    with pytest.raises(GraphError, match=message):
        lower(graph)


def test_every_map_off_the_grid_is_named():
    graph = chain(Input((1,)), affine([[0.1]]), affine([[0.3]]), lif(1))
    with pytest.raises(GraphError, match=r"(?s)'n0'.*'n1'"):
        lower(graph)


def test_a_membrane_cannot_be_handed_on():
    node = Integrator(np.full(1, 1 / DT))
    with pytest.raises(UnsupportedNodeError, match="'n1' hands its membrane"):
        lower(chain(Input((1,)), affine([[1.0]]), node, affine([[1.0]]), lif(1)))


def test_an_unknown_map_is_refused_with_what_is_known():
    class Cube(Map):
        def output_shape(self, shape):
            return shape

    with pytest.raises(
        UnsupportedNodeError,
        match=r"no integer form for {'n0': 'Cube'}; .*'Affine', 'AvgPool",
    ):
        lower(chain(Input((1,)), Cube(), lif(1)))


def test_the_memory_bound_holds_before_memory_is_taken(monkeypatch):
    monkeypatch.setattr(compose, "MAX_ENTRIES", 100)
    conv = Conv2d(np.ones((2, 1, 3, 3)), [0, 0], padding=(1, 1))
    with pytest.raises(LimitError, match="288 entries, at most 100"):
        lower(chain(Input((1, 4, 4)), conv, lif(2, 4, 4)))


def test_an_encoding_of_other_channels_is_refused():
    graph = chain(
        Input((2, 1, 1)), lif(2, 1, 1), encoding=DirectEncoding((0.0,), (1.0,))
    )
    with pytest.raises(GraphError, match="the encoding has 1 channels"):
        lower(graph)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_survives_its_file(kind, tmp_path):
    plan = lower(random_graph(np.random.default_rng(3), kind=kind))
    write_plan(tmp_path / "plan.npz", plan)
    again = read_plan(tmp_path / "plan.npz")
    write_plan(tmp_path / "again.npz", again)
    assert (tmp_path / "plan.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    for left, right in zip(plan.connections, again.connections, strict=True):
        assert (left.source, left.target, left.shift) == (
            right.source,
            right.target,
            right.shift,
        )
        np.testing.assert_array_equal(left.weights.toarray(), right.weights.toarray())
    for left, right in zip(plan.populations, again.populations, strict=True):
        np.testing.assert_array_equal(left.bias, right.bias)
        assert (left.shape, left.threshold) == (right.shape, right.threshold)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_plan_is_readable_with_numpy_and_json_alone(tmp_path):
    plan = lower(chain(Input((1,)), affine([[1.5]]), lif(1)))
    write_plan(tmp_path / "plan.npz", plan)
    with np.load(tmp_path / "plan.npz", allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        assert sorted(file.files) == [
            "bias_0",
            "columns_0",
            "header",
            "input_high",
            "input_low",
            "rows_0",
            "weights_0",
        ]
        assert file["weights_0"].tolist() == [3]
    assert header["populations"] == [
        {
            "name": "n1",
            "shape": [1],
            "spiking": True,
            "exponent": -2,
            "decay_shift": 1,
            "threshold": 4,
            "bias_exponent": 6,
            "latency": 0,
            "offset": 0.0,
        }
    ]
    assert header["connections"] == [
        {"source": "in", "target": "n1", "shape": [1, 1], "shift": 0, "delay": 0}
    ]


def test_a_plan_says_a_memory_only_where_there_is_one(tmp_path):
    """So that programs of the first version read what they can, and refuse the rest."""
    path = tmp_path / "plan.npz"
    for kind, version, known in (("vgg", 1, False), ("cuba", 2, True)):
        write_plan(path, lower(random_graph(np.random.default_rng(0), kind=kind)))
        with np.load(path) as file:
            header = json.loads(str(file["header"]))
        assert header["version"] == version
        fields = [set(p) for p in header["populations"]]
        assert all(("current_decay_shift" in names) == known for names in fields)
    shifts = {p.name: p.current_decay_shift for p in read_plan(path).populations}
    assert shifts == {"cuba0": 1, "lif0": 0, "cuba1": 1, "cuba2": 1, "readout": 0}


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.npz"
    write_plan(path, lower(random_graph(np.random.default_rng(0), kind="residual")))
    return path


def rewritten(path, change):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays["header"]))
    change(header, arrays)
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, _: h.update(version=3), "version 3; this program reads versions 1"),
        (lambda h, _: h.update(format="x"), "its header does not say"),
        (lambda h, _: h.pop("populations"), "is not a plan, or is damaged"),
        (
            lambda h, _: h["populations"][0].update(threshold=None),
            "'lif0' has impossible",
        ),
        (
            lambda h, _: h["populations"][0].update(current_decay_shift=13),
            "the current of 'lif0' decays by no 12-bit fraction",
        ),
        (lambda h, _: h["connections"][0].update(target="x"), "does not fit"),
        (lambda _, a: a.pop("weights_1"), "weights_1"),
        (lambda _, a: a["weights_0"].fill(200), "exceed 8 bits"),
        (lambda _, a: a["columns_0"].fill(10**6), "is not a plan, or is damaged"),
        (lambda _, a: a.update(bias_0=np.zeros(1, np.int64)), "the bias of 'lif0'"),
        (lambda _, a: a.update(input_low=np.zeros(1, np.int64)), "interval"),
    ],
)
def test_an_unsound_plan_is_refused(plan_file, change, message):
    rewritten(plan_file, change)
    with pytest.raises(FormatError, match=message):
        read_plan(plan_file)


def test_a_missing_foreign_or_damaged_file_is_refused(plan_file, tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        read_plan(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a plan")
    with pytest.raises(FormatError, match="not a plan, or damaged"):
        read_plan(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(FormatError, match="not a plan"):
        read_plan(tmp_path / "array.npy")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(FormatError, match="it has no header"):
        read_plan(tmp_path / "other.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("header.npy", b"nothing")
    with pytest.raises(FormatError):
        read_plan(tmp_path / "zip.npz")
    whole = plan_file.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        plan_file.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_plan(plan_file)
    middle = len(whole) // 2
    plan_file.write_bytes(whole[:middle] + b"\0\0\0\0" + whole[middle + 4 :])
    with pytest.raises(FormatError):
        read_plan(plan_file)
