"""IF, LI, CubaLI, CubaLIF, Threshold, Delay, Scale, Conv1d: traces worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stars.errors import GraphError
from stars.graph.nodes import IF, LI, Conv1d, CubaLI, CubaLIF, Delay, Scale, Threshold

DT = 2.0**-10
ONE = np.ones(1)


def run(node, values):
    """(Outputs, states) of one neuron, step by step."""
    state = node.initial(1)
    outputs, states = [], []
    for value in values:
        output, state = node.step(np.array([[value]], float), state, DT)
        outputs.append(output.item())
        states.append(state.ravel().tolist())
    return outputs, states


def test_if_sums_without_leak_and_resets_where_it_is_above():
    node = IF(ONE / DT, 2 * ONE, -ONE)
    # .5, 1.5, 2 (not above 2), 2.25 > 2 -> -1, -1 + 4 = 3 > 2 -> -1, -1
    outputs, states = run(node, [0.5, 1, 0.5, 0.25, 4, 0])
    assert outputs == [0, 0, 0, 1, 1, 0]
    assert states == [[0.5], [1.5], [2], [-1], [-1], [-1]]


def test_if_scales_by_dt_and_r():
    # dt r = 256 / 1024 = 1/4: 8 / 4 = 2 > 1
    assert run(IF(256 * ONE, ONE, 0 * ONE), [2, 8]) == ([0, 1], [[0.5], [0]])


def test_li_halves_its_distance_and_hands_its_membrane_on():
    node = LI(2 * DT * ONE, 2 * ONE, ONE)
    # k = 1/2 towards 1 + 2 x, from 1: to 3 gives 2, to 1 gives 1.5, to -3 gives -.75
    outputs, states = run(node, [1, 0, -2])
    assert outputs == [2, 1.5, -0.75]
    assert states == [[2], [1.5], [-0.75]]


def test_cuba_li_drives_its_membrane_with_the_current_of_the_same_step():
    node = CubaLI(2 * DT * ONE, 4 * DT * ONE, 2 * ONE, ONE, 4 * ONE)
    # u: halves towards 4 x; v: a quarter towards 1 + 2 u, from 1
    # x = 1: u = 2, v = 1 + (1 - 1 + 4) / 4 = 2
    # x = 0: u = 1, v = 2 + (1 - 2 + 2) / 4 = 2.25
    # x = 0: u = .5, v = 2.25 + (1 - 2.25 + 1) / 4 = 2.1875
    outputs, states = run(node, [1, 0, 0])
    assert outputs == [2, 2.25, 2.1875]
    assert states == [[2, 2], [1, 2.25], [0.5, 2.1875]]


def test_cuba_lif_resets_its_membrane_and_keeps_its_current():
    node = CubaLIF(
        *(2 * DT * ONE, 2 * DT * ONE, 2 * ONE, 0 * ONE, 2 * ONE, ONE, 0.25 * ONE)
    )
    # u halves towards 2 x, v halves towards 2 u; above 1 it goes to 1/4
    # x = 1: u = 1,    v = 0 + (0 - 0 + 2) / 2 = 1        not above 1
    # x = 1: u = 1.5,  v = 1 + (0 - 1 + 3) / 2 = 2        spike, v = .25
    # x = 0: u = .75,  v = .25 + (-.25 + 1.5) / 2 = .875
    # x = 0: u = .375, v = .875 + (-.875 + .75) / 2 = .8125
    outputs, states = run(node, [1, 1, 0, 0])
    assert outputs == [0, 1, 0, 0]
    assert states == [[1, 1], [1.5, 0.25], [0.75, 0.875], [0.375, 0.8125]]
    np.testing.assert_array_equal(node.membrane(np.array([[[3.0], [7.0]]])), [[7.0]])


def test_threshold_is_strict_and_has_no_memory():
    outputs, states = run(Threshold(0.5 * ONE), [0.5, 0.75, 0, 2])
    assert outputs == [0, 1, 0, 1]
    assert states == [[0.5], [0.75], [0], [2]]


def test_delay_gives_each_value_back_after_its_own_steps():
    node = Delay([0, 1, 3])
    state = node.initial(1)
    outputs = []
    for t in range(5):
        x = np.array([[10 + t, 20 + t, 30 + t]], float)
        output, state = node.step(x, state, DT)
        outputs.append(output[0].tolist())
    assert outputs == [
        [10, 0, 0],
        [11, 20, 0],
        [12, 21, 0],
        [13, 22, 30],
        [14, 23, 31],
    ]
    assert state[0].tolist() == [[14, 24, 34], [13, 23, 33], [12, 22, 32]]


def test_delays_without_steps_hand_on_what_comes():
    assert run(Delay([0]), [3, 4]) == ([3, 4], [[], []])


def test_seconds_become_steps_where_they_are_whole():
    assert Delay.of_seconds([0.0003, 0, 0.0001], 0.0001).steps.tolist() == [3, 0, 1]
    single = np.array([0.003, 0.0999], np.float32)
    assert Delay.of_seconds(single, 1e-4).steps.tolist() == [30, 999]


def test_seconds_between_steps_are_refused_with_the_reason():
    message = r"delay is 0\.0015 s, 1\.5 steps of dt = 0\.001 s; .*\(1 of 2 are not\)"
    with pytest.raises(GraphError, match=message):
        Delay.of_seconds([0.002, 0.0015], 0.001)


def test_scale_by_hand():
    node = Scale([[1, 2], [3, -4]])
    assert node.apply(np.full((1, 2, 2), 0.5)).tolist() == [[[0.5, 1], [1.5, -2]]]


def test_conv1d_by_hand():
    node = Conv1d([[[1, 0, -2]]], [0.5], padding=1)
    # 0 1 2 4 0 -> 0 - 4, 1 - 8, 2 - 0, and a half each
    assert node.apply(np.array([[[1.0, 2, 4]]])).tolist() == [[[-3.5, -6.5, 2.5]]]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [(3, 1, 1, 1, 1), (4, 2, 0, 1, 2), (2, 3, 5, 3, 4)],
)
def test_conv1d_equals_torch(kernel, stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, (8, 4 // groups, kernel)).astype(float)
    bias = rng.integers(-9, 10, 8).astype(float)
    x = rng.integers(-9, 10, (3, 4, 11)).astype(float)
    node = Conv1d(weight, bias, stride, padding, dilation, groups)
    tensors = (torch.from_numpy(a) for a in (x, weight, bias))
    expected = torch.nn.functional.conv1d(
        *tensors, stride=stride, padding=padding, dilation=dilation, groups=groups
    ).numpy()
    assert node.output_shape(x.shape[1:]) == expected.shape[1:]
    np.testing.assert_array_equal(node.apply(x), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IF(ONE, ONE, 2 * ONE), "v_reset is above"),
        (lambda: IF(ONE, np.ones(2), ONE), r"v_threshold has shape \(2,\), expected"),
        (lambda: LI(-ONE, ONE, ONE), r"tau is -1\.0 s somewhere"),
        (lambda: CubaLI(ONE, 0 * ONE, ONE, ONE, ONE), r"tau_mem is 0\.0 s somewhere"),
        (lambda: CubaLI(-ONE, ONE, ONE, ONE, ONE), r"tau_syn is -1\.0 s somewhere"),
        (lambda: Threshold(1.0), "threshold has no axes"),
        (lambda: Scale(1.0), "scale has no axes"),
        (lambda: Delay([0.5]), "steps are 0.5 to 0.5; they must be integers"),
        (lambda: Delay([-1]), "must be integers >= 0"),
        (lambda: Delay(2), "steps has no axes"),
        (lambda: Delay.of_seconds([-0.001], 0.001), "integers >= 0"),
        (lambda: Conv1d(np.ones((1, 1, 2, 2)), [0]), "weight has 4 axes, expected 3"),
        (lambda: Conv1d(np.ones((1, 1, 2)), [0], stride=0), "stride is"),
    ],
)
def test_a_malformed_node_is_refused(make, message):
    with pytest.raises(GraphError, match=message):
        make()


@pytest.mark.parametrize(
    ("node", "shape", "message"),
    [
        (Conv1d(np.ones((1, 2, 3)), [0]), (2, 3, 3), r"expected \(C, L\)"),
        (Conv1d(np.ones((1, 2, 5)), [0]), (2, 3), "does not fit"),
        (Scale([1.0, 2.0]), (3,), r"expected \(2,\)"),
        (Delay([1, 2]), (3,), r"expected \(2,\)"),
    ],
)
def test_an_input_of_the_wrong_shape_is_refused(node, shape, message):
    with pytest.raises(GraphError, match=message):
        node.output_shape(shape)
