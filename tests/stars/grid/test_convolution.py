"""Convolutions of a plan: composed along a chain, and proven entry by entry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from stars.graph.nodes import Affine, AvgPool2d, Conv2d, Flatten, Scale, SumPool2d
from stars.grid import convolution
from stars.grid.convolution import Geometry, convolution_of, geometry_of
from stars.grid.lowering import lower
from stars.grid.unrolling import unroll
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph

RNG = np.random.default_rng(0)


def conv(out, channels, kernel, **options):
    weight = RNG.integers(1, 128, (out, channels, *kernel)).astype(float)
    return Conv2d(weight * RNG.choice([-1, 1], weight.shape), np.zeros(out), **options)


def matrix_of(node, shape):
    return csr_array(unroll(node, shape)[0].at(0))


def assert_unrolls(found, weights):
    """A Conv2d of this kernel and geometry does to pixels what the matrix does."""
    geometry = found.geometry
    node = Conv2d(
        found.kernel.astype(float),
        np.zeros(geometry.target[0]),
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.groups,
    )
    assert node.weight.shape == geometry.kernel_shape
    assert node.output_shape(geometry.source) == geometry.target
    x = RNG.integers(-9, 10, (3, *geometry.source)).astype(float)
    expected = (weights @ x.reshape(3, -1).T).T
    np.testing.assert_array_equal(node.apply(x).reshape(3, -1), expected)


NODES = {
    "padded": (conv(4, 2, (3, 3), padding=(1, 1)), (2, 9, 8)),
    "strided": (conv(4, 3, (3, 3), stride=(2, 2), padding=(1, 1)), (3, 14, 14)),
    "oblong": (conv(4, 1, (3, 5), stride=(2, 1), padding=(0, 2)), (1, 11, 9)),
    "skipping": (conv(5, 3, (1, 1), stride=(2, 2)), (3, 7, 7)),
    "dilated": (conv(2, 2, (3, 3), dilation=(2, 3), padding=(2, 3)), (2, 9, 12)),
    "grouped": (conv(4, 2, (3, 3), groups=2, padding=(1, 1)), (4, 6, 6)),
    "all pixels": (conv(6, 2, (7, 7)), (2, 7, 7)),
    "sum pool": (SumPool2d((2, 2), (2, 2)), (3, 9, 8)),
    "overlapping pool": (SumPool2d((3, 2), (2, 1)), (3, 9, 8)),
}


@pytest.mark.parametrize("name", NODES)
def test_the_kernel_is_read_out_of_the_unrolled_matrix(name):
    node, shape = NODES[name]
    weights = matrix_of(node, shape)
    found = convolution_of(geometry_of(node, shape), weights)
    assert found is not None
    assert_unrolls(found, weights)
    if isinstance(node, Conv2d):
        np.testing.assert_array_equal(found.kernel, node.weight)


def test_a_tap_that_sees_no_pixel_is_zero():
    node, shape = conv(2, 1, (7, 7), padding=(3, 3)), (1, 3, 3)
    weights = matrix_of(node, shape)
    found = convolution_of(geometry_of(node, shape), weights)
    assert found is not None
    np.testing.assert_array_equal(
        found.kernel[:, :, 1:6, 1:6], node.weight[:, :, 1:6, 1:6]
    )
    assert not found.kernel[:, :, [0, 6]].any()
    assert_unrolls(found, weights)


POOL = SumPool2d((2, 2), (2, 2))
CHAINS = {
    "pool, conv": ((2, 10, 8), POOL, conv(3, 2, (3, 3), padding=(1, 1))),
    "pool, strided conv": ((2, 8, 8), POOL, conv(3, 2, (3, 2), stride=(1, 2))),
    "conv, pool": ((2, 9, 9), conv(4, 2, (3, 3), padding=(1, 1)), POOL),
    "conv, overlapping pool": (
        (1, 9, 9),
        conv(2, 1, (3, 3)),
        SumPool2d((3, 3), (2, 2)),
    ),
    "pool, grouped conv": ((4, 8, 8), POOL, conv(4, 2, (3, 3), groups=2)),
    "pool that leaves pixels, conv without padding": (
        (2, 9, 9),
        POOL,
        conv(3, 2, (3, 3)),
    ),
    "pool, dilated conv": (
        (1, 12, 12),
        POOL,
        conv(2, 1, (3, 3), dilation=(2, 2), padding=(2, 2)),
    ),
    "conv, conv": ((2, 9, 9), conv(3, 2, (3, 3), padding=(1, 1)), conv(2, 3, (2, 2))),
    "conv, pointwise": ((2, 6, 6), NODES["padded"][0], conv(3, 4, (1, 1))),
    "scale of channels": (
        (2, 4, 4),
        Scale(np.broadcast_to([[[2.0]], [[-3.0]]], (2, 4, 4))),
        conv(3, 2, (3, 3), padding=(1, 1)),
    ),
}


def composed(shape, first, second):
    """(geometry or None, matrix) of two maps in a row."""
    between = first.output_shape(shape)
    geometry = geometry_of(second, between).after(geometry_of(first, shape))
    return geometry, csr_array(matrix_of(second, between) @ matrix_of(first, shape))


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_one_convolution(name):
    geometry, weights = composed(*CHAINS[name])
    found = convolution_of(geometry, weights)
    assert found is not None
    assert_unrolls(found, weights)


def test_a_pool_and_a_convolution_by_hand():
    geometry, _ = composed(*CHAINS["pool, conv"])
    assert geometry == Geometry((2, 10, 8), (3, 5, 4), (6, 6), (2, 2), (2, 2))


BROKEN = {
    "padding sees pixels that the pool leaves over": (
        (1, 9, 9),
        POOL,
        conv(2, 1, (3, 3), padding=(1, 1)),
    ),
    "padding of an overlapping pool": (
        (1, 9, 9),
        SumPool2d((3, 3), (2, 2)),
        conv(2, 1, (3, 3), padding=(1, 1)),
    ),
    "scale of pixels": (
        (1, 3, 3),
        Scale(np.arange(1.0, 10).reshape(1, 3, 3)),
        conv(2, 1, (3, 3), padding=(1, 1)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_convolution_is_none(name):
    geometry, weights = composed(*BROKEN[name])
    assert geometry is None or convolution_of(geometry, weights) is None


def test_dense_and_flat_maps_have_no_geometry():
    assert geometry_of(Affine(np.ones((3, 4)), np.zeros(3)), (4,)) is None
    assert geometry_of(Flatten(), (2, 2, 1)) is None


@pytest.mark.parametrize("change", ["another value", "a missing entry", "a new entry"])
def test_one_entry_that_differs_makes_it_no_convolution(change):
    node, shape = NODES["strided"]
    weights = matrix_of(node, shape).tolil()
    row, column = (int(i) for i in np.argwhere(weights.toarray() != 0)[1000])
    if change == "a new entry":
        column = int(np.flatnonzero(weights.toarray()[row] == 0)[5])
    weights[row, column] = (
        0 if change == "a missing entry" else weights[row, column] + 1
    )
    assert convolution_of(geometry_of(node, shape), csr_array(weights)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"stride": (1, 2)},
        {"padding": (0, 0)},
        {"padding": (-1, -1)},
        {"dilation": (2, 2)},
        {"groups": 0},
        {"groups": 2},
        {"kernel": (3, 0)},
        {"kernel": (5, 5), "padding": (2, 2), "source": (3, 13, 14)},
        {"target": (8, 7, 7)},
        {"source": (588,)},
    ],
)
def test_another_geometry_is_refused(change):
    node, shape = NODES["strided"]
    geometry = replace(geometry_of(node, shape), **change)
    assert convolution_of(geometry, matrix_of(node, shape)) is None


def test_a_product_too_large_to_be_proven_is_none(monkeypatch):
    node, shape = NODES["padded"]
    monkeypatch.setattr(convolution, "MAX_ENTRIES", 100)
    assert convolution_of(geometry_of(node, shape), matrix_of(node, shape)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_convolutions_of_a_plan_are_its_weights(kind):
    graph = random_graph(np.random.default_rng(4), kind=kind)
    plan = lower(graph)
    shapes = {plan.input_name: plan.input_shape, **graph.shapes}
    for c in plan.connections:
        between = len(shapes[c.source]), len(shapes[c.target])
        assert (c.convolution is not None) == (between == (3, 3))
        if c.convolution is not None:
            assert_unrolls(c.convolution, c.weights)


def test_a_mean_is_a_convolution_of_whole_numbers():
    """The kernel of an average is in the units of the plan's weights."""
    pool = AvgPool2d((2, 2), (2, 2))
    unrolled = unroll(pool, (1, 4, 4))[0]
    found = convolution_of(geometry_of(pool, (1, 4, 4)), unrolled.mantissas)
    assert found is not None
    assert found.kernel.tolist() == [[[[1, 1], [1, 1]]]]
