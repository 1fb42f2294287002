"""The two lowerings of a pool, counted by hand."""

from __future__ import annotations

import numpy as np
from energy_graphs import chain, measured

from stars.graph.nodes import (
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Output,
)
from stars.testing.random_graphs import random_graph, random_inputs
from targets.energy_model.estimate import estimate
from targets.hardware.costs import (
    load_table,
)

# -- pooled-dense


def test_the_two_lowerings_of_a_pool_on_paper():
    """4 x 4 spikes, pooled 2 x 2, then 2 outputs of 4 and 1 weights."""
    graph = chain(
        Input((1, 4, 4)),
        AvgPool2d((2, 2), (2, 2)),
        Flatten(),
        Affine(np.array([[1.0, 1, 1, 1], [1, 0, 0, 0]]), np.zeros(2)),
        Integrator(np.ones(2)),
        Output(),
    )
    x = np.zeros((1, 1, 1, 4, 4))
    x[..., 0, 0] = x[..., 1, 1] = x[..., 3, 3] = 1  # two windows of four are lit
    counts = measured(graph, x)
    assert counts.operations("AC") == 2 + 2 + 1
    assert counts.spikes_per_synapse == 5 / (16 + 4)
    assert counts.spike_rate == 3 / 16
    pool, weights = counts.pooled_dense
    assert (pool.kind, pool.events, pool.operations) == ("AC", 3, 3)
    assert (weights.kind, weights.events, weights.operations) == ("MAC", 2, 2 + 1)
    assert pool.target == weights.target == "n4"


def test_without_a_pool_there_is_one_lowering():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")
    counts = measured(graph, np.array(random_inputs(rng, graph, 2)))
    assert counts.pooled_dense is None
    found = estimate(counts, load_table("loihi1"))
    assert found.joules_per_image_pooled_dense is None


def test_a_pool_behind_weights_adds_up_every_value():
    graph = chain(
        Input((1, 4, 4)),
        Conv2d(np.ones((1, 1, 1, 1)), np.zeros(1)),
        AvgPool2d((2, 2), (2, 2)),
        Integrator(np.ones((1, 2, 2))),
        Output(),
        steps=3,
    )
    counts = measured(graph, np.zeros((3, 2, 1, 4, 4)))
    conv, pool = counts.pooled_dense
    assert (conv.kind, conv.operations) == ("AC", 0)
    assert (pool.kind, pool.operations) == ("AC", 3 * 2 * 16)
