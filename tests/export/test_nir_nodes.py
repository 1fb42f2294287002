"""The batch axis of a traced sample, and what a Flatten behind it means."""

import itertools
import logging

import nir
import numpy as np
import pytest

from export.from_nir import from_nir
from stars.errors import FormatError
from stars.graph import reference


def lif(size):
    one = np.ones(size)
    return nir.LIF(2 * one, one, 0 * one, one, 0 * one)


def graph_of(shape, *nodes):
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    ends = nir.Input(np.array(shape)), nir.Output(np.array([1]))
    every = dict(zip(names, [ends[0], *nodes, ends[1]], strict=True))
    return nir.NIRGraph(every, list(itertools.pairwise(names)), type_check=False)


def conv(channels):
    return nir.Conv2d(None, np.ones((2, channels, 3, 3)), 1, 0, 1, 1, np.zeros(2))


SAMPLES = {
    "dense": ((12,), [nir.Affine(np.eye(3, 12), np.ones(3)), lif(3)]),
    "conv": ((1, 6, 6), [conv(1), lif((2, 4, 4))]),
    "neurons": ((5,), [lif(5)]),
    "flatten": (
        (1, 4, 4),
        [nir.Flatten(None, 0), nir.Linear(np.eye(2, 16)), lif(2)],
    ),
}


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(("shape", "nodes"), SAMPLES.values(), ids=SAMPLES)
def test_a_batch_axis_is_left_out_where_nothing_accepts_it(shape, nodes, batch, caplog):
    want = from_nir(graph_of(shape, *nodes), dt=1.0, steps=3)
    if isinstance(nodes[0], nir.Flatten):  # its axes count the batch
        nodes = [nir.Flatten(None, 1), *nodes[1:]]
    with caplog.at_level(logging.WARNING):
        found = from_nir(graph_of((batch, *shape), *nodes), dt=1.0, steps=3)
    assert found == want
    assert f"the first axis of its shape {(batch, *shape)} is a batch" in caplog.text
    x = np.full((3, 2, *shape), 3.0)
    spikes = reference.run(found, x).spikes[f"n{len(nodes) - 1}"]
    assert spikes.any()


def test_an_axis_that_a_node_accepts_is_kept():
    found = from_nir(graph_of((1, 6, 6), conv(1), lif((2, 4, 4))), dt=1.0, steps=3)
    assert found.shapes["input"] == (1, 6, 6)


def test_an_input_that_fits_neither_way_names_the_axis():
    graph = graph_of((1, 12), nir.Affine(np.eye(3, 7), np.ones(3)), lif(3))
    with pytest.raises(FormatError, match=r"first axis .*\(1, 12\) may be a batch"):
        from_nir(graph, dt=1.0, steps=3)
    graph = graph_of((3, 6, 6), conv(2), lif((2, 4, 4)))
    with pytest.raises(FormatError) as caught:
        from_nir(graph, dt=1.0, steps=3)
    assert "batch" not in str(caught.value)
