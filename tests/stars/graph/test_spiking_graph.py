"""SpikingGraph: what is refused, with which words, and what follows from the edges."""

from __future__ import annotations

import numpy as np
import pytest

from stars.errors import GraphError, UnsupportedNodeError
from stars.graph.nodes import LIF, Affine, Flatten, Input, Integrator, Node, Output
from stars.graph.spiking_graph import SpikingGraph

DT = 2.0**-10
LIF2 = LIF.uniform((2,), tau=2 * DT)
NODES = {
    "in": Input((2,)),
    "fc": Affine(np.eye(2), np.zeros(2)),
    "lif": LIF2,
    "out": Output(),
}
EDGES = (("in", "fc"), ("fc", "lif"), ("lif", "out"))


def make(nodes=None, edges=EDGES, **changes):
    values = {"dt": DT, "steps": 4, **changes}
    return SpikingGraph(NODES | (nodes or {}), edges, **values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, "dt is 0.0 s"),
        ({"dt": float("nan")}, "dt is nan s"),
        ({"steps": 0}, "steps is 0; it must be 1 to"),
        ({"steps": 10**12}, "steps is 1000000000000; it must be 1 to"),
        ({"edges": EDGES[:2]}, "'lif' has a wrong number of outgoing"),
        ({"edges": EDGES[1:]}, "'in' has a wrong number of outgoing"),
        ({"edges": (*EDGES, ("lif", "x"))}, r"edges name \['x'\]"),
        ({"edges": (*EDGES, EDGES[0])}, "an edge appears twice"),
        (
            {"edges": (*EDGES, ("fc", "fc"))},
            "a cycle runs .*without a neuron or a Delay",
        ),
        ({"edges": (*EDGES, ("fc", "out"))}, "'out' needs exactly one incoming edge"),
        ({"edges": (*EDGES, ("fc", "in"))}, "'in' has a wrong number of incoming"),
        ({"nodes": {"in2": Input((2,))}}, r"Input nodes \['in', 'in2'\]"),
        ({"nodes": {"out": Flatten()}}, r"Output nodes \[\]"),
        ({"nodes": {"fc": Node()}}, "'fc' is a Node, not a node"),
        ({"nodes": {"fc": Affine([[1.0]], [0.0])}}, r"node 'fc': input has shape"),
        (
            {"nodes": {"in": Input((3,))}, "edges": (*EDGES, ("in", "lif"))},
            "node 'fc': input has shape",
        ),
    ],
)
def test_a_graph_that_cannot_run_is_refused(changes, message):
    with pytest.raises(GraphError, match=message):
        make(**changes)


def test_inputs_that_add_must_agree_in_shape():
    nodes = {"wide": Affine(np.ones((3, 2)), np.zeros(3))}
    edges = (*EDGES, ("in", "wide"), ("wide", "lif"))
    with pytest.raises(GraphError, match=r"'lif': its inputs add but differ in shape"):
        make(nodes, edges)


def test_names_come_in_execution_order_whatever_the_order_of_the_edges():
    graph = make(edges=EDGES[::-1])
    assert graph.order == ("in", "fc", "lif", "out")
    assert graph.edges == EDGES
    assert graph == make()


def test_shapes_predecessors_and_neurons():
    graph = make(edges=(*EDGES, ("in", "lif")))
    assert graph.predecessors("lif") == ("in", "fc")
    assert graph.successors("in") == ("fc", "lif")
    assert dict(graph.shapes) == dict.fromkeys(("in", "fc", "lif", "out"), (2,))
    assert (graph.input, graph.output, graph.readout) == ("in", "out", "lif")
    assert graph.neurons == graph.spiking == ("lif",)
    assert graph.neuron_count() == 2


def test_the_readout_needs_a_membrane():
    graph = make(
        edges=(*EDGES[:2], ("lif", "end"), ("end", "out")), nodes={"end": Flatten()}
    )
    with pytest.raises(GraphError, match="'end' feeds the output but has no membrane"):
        _ = graph.readout


def test_a_map_has_no_membrane():
    with pytest.raises(UnsupportedNodeError, match="'fc' is a Affine"):
        make().neuron("fc")


def test_a_graph_cannot_be_changed_but_copied():
    graph = make()
    with pytest.raises(TypeError):
        graph.nodes["fc"] = NODES["fc"]
    with pytest.raises(AttributeError):
        graph.dt = 1.0
    other = graph.replace_nodes({"fc": Affine(2 * np.eye(2), np.zeros(2))})
    assert other != graph
    assert other.replace_nodes({"fc": NODES["fc"]}) == graph
    with pytest.raises(GraphError, match=r"no nodes \['x'\]"):
        graph.replace_nodes({"x": NODES["fc"]})


def test_a_spiking_node_can_be_read_out_and_an_integrator_too():
    assert make({"lif": Integrator(np.ones(2))}).spiking == ()
