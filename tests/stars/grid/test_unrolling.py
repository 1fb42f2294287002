"""Maps as sparse matrices: they compute the same, within bounds of memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stars.errors import LimitError, UnsupportedNodeError
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Map,
    Output,
    SumPool2d,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid import unrolling
from stars.grid.lowering import lower

DT = 2.0**-10


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, tau=2 * DT, **changes):
    return LIF.uniform(shape, tau=tau, **changes)


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
    matrix, bias = unrolling.unroll(node, shape)
    x = np.random.default_rng(0).integers(-9, 10, (3, *shape)).astype(float)
    flat = (matrix.mantissas @ x.reshape(3, -1).T).T * 2.0**matrix.exponent
    result = flat + bias.mantissas * 2.0**bias.exponent
    np.testing.assert_array_equal(result, node.apply(x).reshape(3, -1))


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
    monkeypatch.setattr(unrolling, "MAX_ENTRIES", 100)
    conv = Conv2d(np.ones((2, 1, 3, 3)), [0, 0], padding=(1, 1))
    with pytest.raises(LimitError, match="288 entries, at most 100"):
        lower(chain(Input((1, 4, 4)), conv, lif(2, 4, 4)))
