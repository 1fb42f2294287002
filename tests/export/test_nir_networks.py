"""Networks of other people: nested graphs, cycles, delays in seconds, Conv1d."""

from __future__ import annotations

import json

import h5py
import nir
import numpy as np
import pytest
import torch

from export.from_nir import from_nir, read
from export.to_nir import to_nir, write
from stars.errors import FormatError
from stars.graph import reference
from stars.graph.encoding import LatencyEncoding, PoissonEncoding
from stars.graph.nodes import Conv1d, Delay
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph, random_inputs

DT = 2.0**-10


def population(size, **changes):
    values = {
        "tau": 2 * DT,
        "r": 1.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
    }
    return nir.LIF(**{k: np.full(size, v) for k, v in (values | changes).items()})


def graph_of(nodes, edges):
    """A NIR graph between an 'input' and an 'output'; edges are written 'a>b c>d'."""
    shape = np.array([2])
    ends = {"input": nir.Input(shape), "output": nir.Output(shape)}
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    return nir.NIRGraph(ends | nodes, pairs, type_check=False)


def recurrent_block():
    """A population that feeds itself through weights."""
    weight = np.array([[0.0, -4.0], [-4.0, 0.0]])
    nodes = {"lif": population(2), "w_rec": nir.Affine(weight, np.array([1.0, 0.5]))}
    return graph_of(nodes, "input>lif lif>w_rec w_rec>lif lif>output")


def test_a_graph_in_a_graph_is_flattened_under_its_name(tmp_path):
    outer = graph_of(
        {"fc": nir.Linear(np.eye(2)), "rec": recurrent_block(), "end": population(2)},
        "input>fc fc>rec rec>end end>output",
    )
    nir.write(tmp_path / "net.nir", outer)
    graph = read(tmp_path / "net.nir", dt=DT, steps=4)
    assert set(graph.nodes) == {
        *("input", "fc", "rec.lif", "rec.w_rec", "end", "output"),
    }
    assert set(graph.edges) == {
        *(("input", "fc"), ("fc", "rec.lif"), ("rec.lif", "rec.w_rec")),
        *(("rec.w_rec", "rec.lif"), ("rec.lif", "end"), ("end", "output")),
    }
    assert graph.delayed == {("rec.lif", "rec.w_rec")}
    # k = 1/2; the weights see the last step's spikes, and give their bias from t = 0
    # t 0: (2 + 1, 2 + .5): 1.5 and 1.25, both spike
    # t 1: (2 + 1 - 4, 2 + .5 - 4): -.5 and -.75;  t 2: (3 + .5) / 2 = 1.25, .875
    trace = reference.run(graph, np.full((3, 1, 2), 2.0))
    spikes = trace.spikes["rec.lif"][:, 0].astype(int).tolist()
    assert spikes == [[1, 1], [0, 0], [1, 0]]
    membranes = trace.membranes["rec.lif"][:, 0].tolist()
    assert membranes == [[0, 0], [-0.5, -0.75], [0, 0.875]]


def test_graphs_in_graphs_in_graphs():
    middle = graph_of({"deep": recurrent_block()}, "input>deep deep>output")
    outer = graph_of({"mid": middle}, "input>mid mid>output")
    graph = from_nir(outer, dt=DT, steps=2)
    assert set(graph.nodes) == {
        *("input", "mid.deep.lif", "mid.deep.w_rec", "output"),
    }
    alone = from_nir(recurrent_block(), dt=DT, steps=2)
    x = np.random.default_rng(0).integers(0, 4, (6, 3, 2)).astype(float)
    np.testing.assert_array_equal(
        reference.run(graph, x).membranes["mid.deep.lif"],
        reference.run(alone, x).membranes["lif"],
    )


def test_a_way_straight_through_an_inner_graph_stays_a_way():
    inner = graph_of(
        {"fc": nir.Linear(2 * np.eye(2))}, "input>fc fc>output input>output"
    )
    outer = graph_of(
        {"skip": inner, "lif": population(2)}, "input>skip skip>lif lif>output"
    )
    graph = from_nir(outer, dt=DT, steps=2)
    assert set(graph.predecessors("lif")) == {"input", "skip.fc"}


def inner_with(nodes, edges):
    inner = nir.NIRGraph(nodes, edges, type_check=False)
    return graph_of({"a": inner, "lif": population(2)}, "input>a a>lif lif>output")


def ends(*names):
    shape = np.array([2])
    return {n: (nir.Input if n[0] == "i" else nir.Output)(shape) for n in names}


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            inner_with(ends("i", "j", "o") | {"i2": nir.Input(np.array([2]))}, []),
            r"graph 'a': found Input nodes \['i', 'i2'\], expected exactly one",
        ),
        (inner_with(ends("i"), []), r"graph 'a': found Output nodes \[\]"),
        (
            inner_with(ends("i", "o"), [("i", "lif"), ("lif", "o")]),
            r"graph 'a': its edges name \['lif'\]; its nodes are \['i', 'o'\]",
        ),
    ],
)
def test_an_inner_graph_that_is_not_clear_is_refused(graph, message):
    with pytest.raises(FormatError, match=message):
        from_nir(graph, dt=DT, steps=1)


def test_two_nodes_that_get_one_name_are_refused():
    outer = graph_of(
        {"rec": recurrent_block(), "rec.lif": population(2)},
        "input>rec rec>rec.lif rec.lif>output",
    )
    with pytest.raises(FormatError, match=r"gives \['rec.lif'\] twice"):
        from_nir(outer, dt=DT, steps=1)


def test_delays_in_seconds_become_steps():
    delay = nir.Delay(np.array([0.0, 0.003]))
    graph = from_nir(
        graph_of({"d": delay, "lif": population(2)}, "input>d d>lif lif>output"),
        dt=0.001,
        steps=1,
    )
    assert graph.nodes["d"] == Delay([0, 3])
    assert from_nir(to_nir(graph)) == graph


def test_everything_that_cannot_be_kept_is_said_at_once():
    nodes = {
        "d": nir.Delay(np.array([0.0, 0.0015])),
        "e": nir.Delay(np.array([-0.001, 0.0])),
        "lif": population(2, tau=-1.0),
    }
    graph = graph_of(nodes, "input>d d>e e>lif lif>output")
    with pytest.raises(FormatError) as caught:
        from_nir(graph, dt=0.001, steps=1)
    for words in (
        "node 'd': delay is 0.0015 s, 1.5 steps",
        "node 'e'",
        "node 'lif': tau",
    ):
        assert words in str(caught.value)


def conv1d_graph(**changes):
    rng = np.random.default_rng(0)
    values = {
        "input_shape": 9,
        "weight": rng.normal(size=(4, 1, 4)),
        "stride": 1,
        "padding": 1,
        "dilation": 1,
        "groups": 2,
        "bias": rng.normal(size=4),
    }
    conv = nir.Conv1d(**(values | changes))
    nodes = {
        "input": nir.Input(np.array([2, 9])),
        "conv": conv,
        "output": nir.Output(np.array([1])),
    }
    edges = [("input", "conv"), ("conv", "sum"), ("sum", "output")]

    def ending(shape):
        summed = {"sum": nir.I(np.full(shape, 1 / DT))}
        return nir.NIRGraph(nodes | summed, edges, type_check=False)

    return conv, ending


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "same"},
        {"padding": "same", "dilation": 2},
        {"padding": "same", "dilation": 3},
        {"padding": "valid", "stride": 2},
        {"stride": np.array([2]), "padding": np.array([3])},
    ],
)
def test_conv1d_is_torchs_whatever_its_padding(changes, tmp_path):
    conv, ending = conv1d_graph(**changes)
    x = np.random.default_rng(1).normal(size=(1, 1, 2, 9))
    plain = {
        k: v if isinstance(v, str) else int(np.ravel(v)[0])
        for k, v in ({"stride": 1, "padding": 1, "dilation": 1} | changes).items()
    }
    expected = torch.nn.functional.conv1d(
        *map(torch.from_numpy, (x[0], conv.weight, conv.bias)), groups=2, **plain
    ).numpy()
    nir.write(tmp_path / "net.nir", ending(expected.shape[1:]))
    graph = read(tmp_path / "net.nir", dt=DT, steps=1)
    assert isinstance(graph.nodes["conv"], Conv1d)
    found = reference.run(graph, x).membranes["sum"]
    np.testing.assert_allclose(found.ravel(), expected.ravel(), rtol=1e-12)


def test_conv1d_refuses_an_input_of_another_length():
    _, ending = conv1d_graph(input_shape=8)
    with pytest.raises(FormatError, match=r"input shape \(8,\), but gets \(2, 9\)"):
        from_nir(ending((4, 8)), dt=DT, steps=1)


@pytest.mark.parametrize(
    "encoding", [PoissonEncoding(0.3, 2**64 - 1), LatencyEncoding(7)]
)
def test_an_encoding_travels_with_the_file(encoding, tmp_path):
    plain = random_graph(np.random.default_rng(0), kind="conv")
    graph = SpikingGraph(plain.nodes, plain.edges, plain.dt, plain.steps, encoding)
    write(graph, tmp_path / "net.nir")
    again = read(tmp_path / "net.nir")
    assert again == graph
    assert type(again.encoding) is type(encoding)
    rng = np.random.default_rng(1)
    assert set(np.unique(random_inputs(rng, again, 2))) == {0.0, 1.0}


def test_a_file_says_which_edges_are_late_and_is_held_to_it(tmp_path):
    path = tmp_path / "net.nir"
    graph = random_graph(np.random.default_rng(0), kind="recurrent")
    write(graph, path)
    with h5py.File(path, "a") as file:
        entry = file["node/metadata/stars/delayed_edges"]
        said = json.loads(entry[()])
        assert {tuple(edge) for edge in said} == graph.delayed
        del file["node/metadata/stars/delayed_edges"]
        file["node/metadata/stars/delayed_edges"] = json.dumps(said[1:])
    with pytest.raises(FormatError, match="edges were changed after the export"):
        read(path)
