"""One network, its inputs and its trace, for all tests of parity."""

from __future__ import annotations

import numpy as np
import pytest

from stars.graph import reference
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.testing.random_graphs import random_graph, random_inputs


@pytest.fixture(scope="package")
def graph() -> SpikingGraph:
    return random_graph(np.random.default_rng(1), kind="residual")


@pytest.fixture(scope="package")
def inputs(graph: SpikingGraph) -> np.ndarray:
    return np.array(random_inputs(np.random.default_rng(2), graph, 6))


@pytest.fixture(scope="package")
def trace(graph: SpikingGraph, inputs: np.ndarray) -> Trace:
    return reference.run(graph, inputs)
