"""What the written NIR file says, and what it looks like to NIR itself."""

import itertools
import json

import h5py
import nir
import numpy as np
import pytest

from export.to_nir import TO_NIR, to_nir, write
from stars.errors import DataError, FormatError, UnsupportedNodeError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Map,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph


@pytest.fixture
def graph() -> SpikingGraph:
    rng = np.random.default_rng(0)
    nodes = {
        "image": Input((1, 6, 6)),
        "conv": Conv2d(rng.integers(-9, 9, (2, 1, 3, 3)) / 16, np.zeros(2), padding=1),
        "lif": LIF.uniform((2, 6, 6), tau=2.0**-9),
        "pool": AvgPool2d(2, 2),
        "flat": Flatten(),
        "dense": Affine(rng.integers(-9, 9, (3, 18)) / 16, np.ones(3)),
        "readout": Integrator(np.full(3, 1024.0)),
        "out": Output(),
    }
    names = list(nodes)
    return SpikingGraph(
        nodes=nodes,
        edges=tuple(itertools.pairwise(names)),
        dt=2.0**-10,
        steps=4,
        encoding=DirectEncoding((0.5,), (0.25,), -5),
        metadata={"teacher": "resnet / ä"},
    )


def test_times_are_seconds_and_what_nir_cannot_say_is_metadata(graph, tmp_path):
    write(graph, tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir") as file:
        said = file["node/metadata/stars"]
        assert said["dt"][()] == 2.0**-10
        assert said["steps"][()] == 4
        assert said["time_unit"][()] == b"s"
        assert said["encoding/mean"][()] == [0.5]
        assert said["encoding/exponent"][()] == -5
        assert json.loads(said["order"][()]) == list(graph.nodes)
        lif = file["node/nodes/lif"]
        assert json.loads(lif["metadata/stars/k"][()]) == ["1/2"]
        assert lif["tau"][()].dtype == np.float64
        assert (lif["tau"][()] == 2.0**-9).all()
        assert lif["tau"].shape == (2, 6, 6)
        assert file["node/nodes/flat/start_dim"][()] == 0


def test_nir_itself_reads_the_file_and_agrees_on_every_shape(graph, tmp_path):
    write(graph, tmp_path / "net.nir")
    theirs = nir.read(tmp_path / "net.nir")
    for name, node in theirs.nodes.items():
        assert tuple(node.output_type["output"]) == graph.shapes[name]


def test_several_ratios_are_all_written():
    node = LIF(
        *(np.array([a, b]) for a, b in ((2e-3, 4e-3), (1, 1), (0, 0), (1, 1), (0, 0)))
    )
    graph = SpikingGraph(
        {"i": Input((2,)), "lif": node, "o": Output()},
        (("i", "lif"), ("lif", "o")),
        dt=1e-3,
        steps=1,
    )
    assert json.loads(to_nir(graph).nodes["lif"].metadata["stars"]["k"]) == [
        "1/2",
        "1/4",
    ]


def test_a_failed_write_leaves_what_stood_there_and_nothing_else(
    graph, tmp_path, monkeypatch
):
    path = tmp_path / "net.nir"
    write(graph, path)
    before = path.read_bytes()

    def half_then_fail(target, _):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nir, "write", half_then_fail)
    with pytest.raises(DataError, match="disk full"):
        write(graph, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class Doubling(Map):
    """A node that NIR does not know."""

    def output_shape(self, shape):
        return shape


def test_every_unknown_node_is_named():
    graph = SpikingGraph(
        {"i": Input((2,)), "a": Doubling(), "b": Doubling(), "o": Output()},
        (("i", "a"), ("a", "b"), ("b", "o")),
        dt=1.0,
        steps=1,
    )
    with pytest.raises(UnsupportedNodeError) as caught:
        to_nir(graph)
    assert "'a': 'Doubling', 'b': 'Doubling'" in str(caught.value)
    assert all(kind.__name__ in str(caught.value) for kind in TO_NIR)


@pytest.mark.parametrize("name", ["", ".", "a/b", "a\0b"])
def test_a_name_that_hdf5_reads_as_a_path_is_refused(name):
    graph = SpikingGraph(
        {"i": Input((2,)), name: Flatten(), "o": Output()},
        (("i", name), (name, "o")),
        dt=1.0,
        steps=1,
    )
    with pytest.raises(FormatError, match="HDF5 cannot hold the node name"):
        to_nir(graph)


def test_metadata_that_is_no_text_is_refused(graph):
    graph = SpikingGraph(graph.nodes, graph.edges, graph.dt, 4, None, {"n": 3})  # type: ignore[dict-item]
    with pytest.raises(FormatError, match="metadata 'n' is a int"):
        to_nir(graph)
