"""The nodes: hand-computed steps, and convolutions against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stars.errors import GraphError
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    SumPool2d,
)

DT = 2.0**-10


def run_neuron(node, currents):
    v = node.initial(1)
    outputs, membranes = [], []
    for current in currents:
        output, v = node.step(np.array([[current]]), v, DT)
        outputs.append(output.item())
        membranes.append(v.item())
    return outputs, membranes


def test_lif_halves_its_distance_to_the_current_and_resets_where_it_spikes():
    node = LIF.uniform((1,), tau=2 * DT)
    spikes, membranes = run_neuron(node, [1, 1, 1, 3, 0, -2, 4, 4, 0.5, 0])
    assert spikes == [0, 0, 0, 1, 0, 0, 1, 1, 0, 0]
    assert membranes == [0.5, 0.75, 0.875, 0, 0, -1, 0, 0, 0.25, 0.125]


def test_lif_does_not_spike_at_the_threshold_itself():
    node = LIF.uniform((1,), tau=2 * DT)
    assert run_neuron(node, [2, 1, 2]) == ([0, 0, 1], [1, 1, 0])


def test_lif_starts_at_v_leak_and_returns_to_v_reset():
    node = LIF.uniform(
        (1,), tau=4 * DT, r=2, v_leak=0.25, v_threshold=0.5, v_reset=-0.5
    )
    # .25 + .25 (2 .25) = .375; .375 + .25 (.25 - .375 + 2 .5) = .59375 > .5
    assert run_neuron(node, [0.25, 0.5, 0]) == ([0, 1, 0], [0.375, -0.5, -0.3125])


def test_integrator_sums_and_hands_its_membrane_on():
    node = Integrator(np.array([1 / DT]))
    assert run_neuron(node, [1, -3, 0.5]) == ([1, -2, -1.5], [1, -2, -1.5])


def test_integrator_scales_by_dt_and_r():
    assert run_neuron(Integrator(np.array([256.0])), [8])[1] == [2]


def test_affine_by_hand():
    node = Affine([[1, 2], [0, -1], [3, 0]], [0.5, 0, -1])
    assert node.apply(np.array([[1.0, 2.0]])).tolist() == [[5.5, -2, 2]]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((3, 5), (2, 1), (0, 2), (1, 1), 1),
        ((2, 3), (1, 3), (3, 0), (2, 1), 2),
        ((1, 1), (2, 2), (0, 0), (1, 1), 4),
    ],
)
def test_conv_equals_torch(kernel, stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, (8, 4 // groups, *kernel)).astype(float)
    bias = rng.integers(-9, 10, 8).astype(float)
    x = rng.integers(-9, 10, (3, 4, 8, 10)).astype(float)
    node = Conv2d(weight, bias, stride, padding, dilation, groups)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(x),
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        stride,
        padding,
        dilation,
        groups,
    ).numpy()
    assert node.output_shape(x.shape[1:]) == expected.shape[1:]
    np.testing.assert_array_equal(node.apply(x), expected)


def test_pools_take_whole_windows_only():
    x = np.arange(15.0).reshape(1, 1, 3, 5)
    total = SumPool2d((2, 2), (2, 2))
    assert total.output_shape((1, 3, 5)) == (1, 1, 2)
    assert total.apply(x).tolist() == [[[[12, 20]]]]
    assert AvgPool2d((2, 2), (2, 2)).apply(x).tolist() == [[[[3, 5]]]]


def test_overlapping_pool():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    pool = SumPool2d((2, 3), (1, 1))
    assert pool.apply(x).tolist() == [[[[15], [33]]]]


def test_flatten_keeps_the_last_axis_fastest():
    x = np.arange(12.0).reshape(1, 2, 2, 3)
    assert Flatten().apply(x).tolist() == [list(range(12))]
    assert Flatten().output_shape((2, 2, 3)) == (12,)


def test_nodes_are_equal_by_value_and_type():
    pool = SumPool2d((2, 2), (2, 2))
    assert pool == SumPool2d((2, 2), (2, 2))
    assert pool != AvgPool2d((2, 2), (2, 2))
    assert Affine([[1]], [0]) != Affine([[2]], [0])


def test_arrays_of_a_node_cannot_be_written():
    node = Affine([[1.0]], [0.0])
    with pytest.raises(ValueError, match="read-only"):
        node.weight[0, 0] = 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Affine([[1, 2]], [0, 0]), r"bias has shape \(2,\), expected \(1,\)"),
        (lambda: Affine([1, 2], [0]), "weight has 1 axes, expected 2"),
        (lambda: Affine([[np.nan]], [0]), "weight holds NaN or infinity"),
        (lambda: Affine([["a"]], [0]), "weight is not a numeric array"),
        (lambda: Conv2d(np.ones((2, 1, 3, 3)), [0]), r"expected \(2,\) from weight"),
        (lambda: Conv2d(np.ones((1, 1, 3, 3)), [0], stride=(0, 1)), "stride is"),
        (lambda: Conv2d(np.ones((3, 1, 3, 3)), [0] * 3, groups=2), "a divisor of 3"),
        (lambda: SumPool2d((2, 0), (1, 1)), "kernel is"),
        (lambda: Input(()), "needs at least one axis"),
        (lambda: LIF.uniform((2,), tau=0.0), "tau is 0.0 s somewhere"),
        (lambda: LIF.uniform((2,), tau=1, v_reset=2), "v_reset is above"),
        (lambda: LIF.uniform((), tau=1), "tau has no axes"),
        (lambda: LIF(*([1.0, 1.0], [1.0], [0], [1], [0])), r"r has shape \(1,\)"),
        (lambda: Integrator(np.array(1.0)), "r has no axes"),
    ],
)
def test_a_malformed_node_is_refused(make, message):
    with pytest.raises(GraphError, match=message):
        make()


@pytest.mark.parametrize(
    ("node", "shape", "message"),
    [
        (Affine([[1, 2]], [0]), (3,), r"input has shape \(3,\), expected \(2,\)"),
        (Conv2d(np.ones((1, 2, 3, 3)), [0]), (1, 4, 4), r"expected \(2, H, W\)"),
        (Conv2d(np.ones((1, 1, 5, 5)), [0]), (1, 4, 4), "does not fit"),
        (SumPool2d((5, 5), (1, 1)), (1, 4, 4), "does not fit"),
        (SumPool2d((2, 2), (1, 1)), (4,), r"expected \(C, H, W\)"),
        (LIF.uniform((2,), tau=1), (3,), r"expected \(2,\)"),
    ],
)
def test_an_input_of_the_wrong_shape_is_refused(node, shape, message):
    with pytest.raises(GraphError, match=message):
        node.output_shape(shape)
