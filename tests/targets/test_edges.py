"""At the edge of what a graph can be, every target equals the reference, or refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from cross_tools import need

from export.from_nir import read
from export.to_nir import write
from stars.errors import GraphError, LimitError, StarsError
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, Conv2d, Flatten, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from targets import table
from targets.c.cross import MOST_IMAGES

DT = 2.0**-10
SLOW = {"lava-float", "lava-fixed"}  # a process of its own per run
ON_LAVA = ("one step of one sample", "one class", "every neuron spikes")


def net(
    *,
    size: int = 3,
    classes: int = 2,
    steps: int = 3,
    weight: float = 0.5,
    bias: float = 0.0,
    threshold: float = 1.0,
) -> SpikingGraph:
    """A convolution with signs that alternate, a LIF, a dense readout."""
    kernel = min(size, 3)
    signs = np.where(np.arange(4 * kernel**2) % 3 < 2, 1.0, -1.0)
    taps = weight * signs.reshape(2, 2, kernel, kernel)
    rows = np.where(np.arange(classes * 2 * size**2) % 2, -0.25, 0.5)
    nodes = {
        "in": Input((2, size, size)),
        "conv": Conv2d(taps, np.full(2, bias), padding=(kernel // 2,) * 2),
        "lif": LIF.uniform((2, size, size), tau=2 * DT, v_threshold=threshold),
        "flat": Flatten(),
        "fc": Affine(rows.reshape(classes, -1), np.zeros(classes)),
        "sum": Integrator(np.full(classes, 1 / DT)),
        "out": Output(),
    }
    names = list(nodes)
    edges = tuple(itertools.pairwise(names))
    return SpikingGraph(nodes, edges, dt=DT, steps=steps)


# Graph, batch, the share of input spikes, the rate of the hidden layer if it is known.
Case = tuple[SpikingGraph, int, float, float | None]
EDGES: dict[str, Callable[[], Case]] = {
    "one step": lambda: (net(steps=1), 3, 0.5, None),
    "one sample": lambda: (net(), 1, 0.5, None),
    "one step of one sample": lambda: (net(steps=1), 1, 0.5, None),
    "one class": lambda: (net(classes=1), 2, 0.5, None),
    "images of one pixel": lambda: (net(size=1), 3, 0.5, None),
    "weights of zero": lambda: (net(weight=0.0), 2, 0.5, 0.0),
    "no spike comes in": lambda: (net(), 2, 0.0, 0.0),
    "every input spikes": lambda: (net(), 2, 1.0, None),
    "every neuron spikes": lambda: (net(bias=4.0, weight=2.0**-5), 2, 0.5, 1.0),
    "a threshold of zero": lambda: (net(threshold=0.0), 2, 0.5, None),
    "the largest weights": lambda: (net(weight=127.0, threshold=64.0), 2, 0.5, None),
    "tiny weights": lambda: (net(weight=2.0**-20, threshold=2.0**-19), 2, 0.5, None),
}
BEYOND: dict[str, Callable[[], Case]] = {
    "subnormal in float32": lambda: (
        net(weight=2.0**-140, threshold=2.0**-139),
        2,
        0.5,
        None,
    ),
    "subnormal in float64": lambda: (
        net(weight=2.0**-1070, threshold=2.0**-1069),
        2,
        0.5,
        None,
    ),
    "beyond float32": lambda: (net(weight=2.0**200, threshold=2.0**200), 2, 0.5, None),
    "weights off the grid": lambda: (net(weight=0.1), 2, 0.5, None),
    "many bits": lambda: (net(weight=1 + 2.0**-30), 2, 0.5, None),
}


@pytest.fixture
def name(request) -> str:
    """The name of the target that a test is run for."""
    if request.param in SLOW:
        request.getfixturevalue("lava_python")
    elif request.param in MOST_IMAGES:
        need(table.load(request.param))
    return request.param


def drawn(case: Case, path) -> tuple[SpikingGraph, np.ndarray]:
    """The graph as read from its file, and its input."""
    graph, batch, share, rate = case
    write(graph, path)
    found = read(path)
    assert found == graph
    rng = np.random.default_rng(0)
    shape = (graph.steps, batch, *graph.shapes[graph.input])
    inputs = (rng.random(shape) < share).astype(float)
    if rate is not None:
        assert reference.run(graph, inputs).rates()["lif"] == rate
    return found, inputs


CASES = [
    pytest.param(name, edge, marks=[pytest.mark.lava] if name in SLOW else [])
    for name in table.TARGETS
    for edge in (ON_LAVA if name in SLOW else EDGES)
]


@pytest.mark.parametrize(("name", "edge"), CASES, indirect=["name"])
def test_at_an_edge_a_target_equals_the_reference(name, edge, tmp_path):
    graph, inputs = drawn(EDGES[edge](), tmp_path / "net.nir")
    assert certify(graph).ok
    actual, desired = table.load(name).run(graph, inputs), reference.run(graph, inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)


@pytest.mark.parametrize("edge", BEYOND)
@pytest.mark.parametrize("name", [n for n in table.TARGETS if n not in SLOW])
def test_beyond_an_edge_nothing_is_promised_that_does_not_hold(name, edge, tmp_path):
    graph, inputs = drawn(BEYOND[edge](), tmp_path / "net.nir")
    try:
        exact = certify(graph).ok
    except (GraphError, LimitError):
        exact = False
    try:
        actual = table.load(name).run(graph, inputs)
    except StarsError:
        assert not exact or name != "reference"
        return
    if exact:
        assert_same_membranes(actual, reference.run(graph, inputs))
