"""The table of back ends, and that writing is checked by reading."""

import numpy as np
import pytest

import export.formats
from export.formats import BACKENDS, function, write_checked
from export.from_nir import read
from stars.errors import ConfigError, FormatError, UnsupportedNodeError
from stars.graph.nodes import Flatten, Input, Integrator, Map, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.kinds import ALL_KINDS
from stars.testing.random_graphs import random_graph


@pytest.mark.parametrize("name", BACKENDS)
def test_every_row_is_there_and_says_what_it_is(name):
    row = BACKENDS[name]
    assert callable(function(row.writer))
    assert row.reader is None or callable(function(row.reader))
    assert row.description
    assert row.output


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("name", [n for n, row in BACKENDS.items() if row.reader])
def test_what_is_read_back_is_what_was_written(name, kind, tmp_path):
    for on_grid in (True, False):
        graph = random_graph(np.random.default_rng(0), kind=kind, on_grid=on_grid)
        write_checked(name, graph, tmp_path / "net")
        assert read(tmp_path / "net") == graph


class Doubling(Map):
    def output_shape(self, shape):
        return shape


@pytest.mark.parametrize("name", BACKENDS)
def test_a_node_that_a_back_end_does_not_know_is_refused_and_nothing_written(
    name, tmp_path
):
    nodes = {
        "in": Input((2,)),
        "double": Doubling(),
        "flat": Flatten(),
        "sum": Integrator(np.ones(2)),
        "out": Output(),
    }
    edges = (("in", "double"), ("double", "flat"), ("flat", "sum"), ("sum", "out"))
    graph = SpikingGraph(nodes, edges, dt=1.0, steps=1)
    with pytest.raises(UnsupportedNodeError, match="Doubling"):
        write_checked(name, graph, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_reads_back_differently_is_an_error(tmp_path, monkeypatch):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    other = random_graph(np.random.default_rng(1), kind="mlp")
    real = function

    def wrong_reader(place):
        return (lambda _: other) if place.endswith(":read") else real(place)

    monkeypatch.setattr(export.formats, "function", wrong_reader)
    with pytest.raises(FormatError, match="differs from the one written"):
        write_checked("nir", graph, tmp_path / "net.nir")


def test_an_option_that_a_format_does_not_have_is_refused(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    with pytest.raises(ConfigError, match="'lava' has no form; it has no options"):
        write_checked("lava", graph, tmp_path / "net", form="scan")
    with pytest.raises(
        ConfigError, match="'onnx' has no lossy; it has form, opset, record"
    ):
        write_checked("onnx", graph, tmp_path / "net", lossy=True)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_lists_those_that_there_are(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    with pytest.raises(ConfigError, match="unknown format 'gguf'; there are nir, lava"):
        write_checked("gguf", graph, tmp_path / "net")
