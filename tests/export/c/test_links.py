"""Places of neurons in C, pools in kernels, and the choice of kernels."""

import numpy as np
import pytest

from export.c.links import channels_last, cost, repeats
from export.c.program import program_of
from stars.grid.lowering import lower
from stars.testing.random_graphs import random_graph


def plan_of(kind: str, seed: int = 3):
    return lower(random_graph(np.random.default_rng(seed), kind=kind))


def residual(seed: int):
    return plan_of("residual", seed)


def test_pixels_are_stored_row_by_row_with_channels_together():
    assert channels_last((2, 1, 3)).tolist() == [0, 3, 1, 4, 2, 5]
    assert channels_last((4,)).tolist() == [0, 1, 2, 3]
    assert channels_last((2, 2)).tolist() == [0, 1, 2, 3]


def test_a_pool_in_a_kernel_is_found():
    kernel = np.arange(6).reshape(1, 1, 2, 3)
    assert (repeats(kernel, 2), repeats(kernel, 3)) == (1, 1)
    pooled = kernel.repeat(2, 2).repeat(4, 3)
    assert (repeats(pooled, 2), repeats(pooled, 3)) == (2, 4)


def test_a_pooled_readout_stores_each_weight_once():
    plan = next(p for p in map(residual, range(9)) if p.input_shape == (1, 8, 8))
    readout = program_of(plan, {}).layers[-1]
    stored = readout.links[0].arrays["weights"][1]
    assert stored.size == 3 * 4 < np.prod(plan.into("readout")[0].weights.shape)


@pytest.mark.parametrize(
    ("length", "expected"), [(16, 1.0), (32, 1.0), (10, 4.0), (24, 2.0)]
)
def test_what_fills_no_vector_costs_four_times_as_much(length, expected):
    assert cost(length) == expected


@pytest.mark.parametrize(("rate", "kernel"), [(0.49, "event"), (0.51, "dense")])
def test_few_outputs_are_dense_above_half_of_all_spikes(rate, kernel):
    plan = plan_of("flat")  # 12 outputs: outside vectors
    links = program_of(plan, {plan.input_name: rate}).layers[0].links
    assert [link.kernel for link in links] == [kernel]
