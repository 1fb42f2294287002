"""Flattens nested NIR graphs.

Node 'lif' of the graph that is node 'block' becomes 'block.lif', as in the files of the
NIR paper. The inner graph's one Input and one Output disappear: edges to the outer node
lead to the successors of the inner Input, and edges from it start at the predecessors
of the inner Output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import nir

from export.nir_shapes import completed
from stars.errors import FormatError

Edge = tuple[str, str]
JOINT = "."


def flatten(graph: nir.NIRGraph) -> nir.NIRGraph:
    """`graph` without nested graphs; `graph` itself if it has none.

    Raises:
        FormatError: an inner graph does not have one Input and one Output, two nodes
            get one name, or two paths become one edge.
    """
    if not any(isinstance(node, nir.NIRGraph) for node in graph.nodes.values()):
        return graph
    nodes: dict[str, nir.NIRNode] = {}
    edges: list[Edge] = [(str(a), str(b)) for a, b in graph.edges]
    for name, node in graph.nodes.items():
        added = {name: node}
        if isinstance(node, nir.NIRGraph):
            added, edges = spliced(name, flatten(node), edges)
        if taken := sorted(nodes.keys() & added.keys()):
            raise FormatError(f"flattening nested graphs gives {taken} twice")
        nodes |= added
    repeated = sorted(edge for edge, count in Counter(edges).items() if count > 1)
    if repeated:
        raise FormatError(f"flattening nested graphs gives the edges {repeated} twice")
    return nir.NIRGraph(nodes, edges, dict(graph.metadata), type_check=False)


def spliced(
    name: str, inner: nir.NIRGraph, outer: Sequence[Edge]
) -> tuple[dict[str, nir.NIRNode], list[Edge]]:
    """(The inner nodes by their full names, all edges, outer and inner).

    Raises:
        FormatError: there is not one Input and one Output, or an edge names no node.
    """
    first, last = end(name, inner, nir.Input), end(name, inner, nir.Output)
    unknown = sorted({n for edge in inner.edges for n in edge} - set(inner.nodes))
    if unknown:
        raise FormatError(
            f"graph {name!r}: its edges name {unknown}; its nodes are"
            f" {sorted(inner.nodes)}"
        )
    full = {n: f"{name}{JOINT}{n}" for n in inner.nodes}
    renamed = {full[n]: v for n, v in inner.nodes.items() if n not in (first, last)}
    edges = [
        *((a, full[first] if b == name else b) for a, b in outer),
        *((full[a], full[b]) for a, b in inner.edges),
    ]
    edges = [(full[last] if a == name else a, b) for a, b in edges]
    return renamed, without(full[last], without(full[first], edges))


def end(name: str, graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> str:
    """The name of the one Input or Output of an inner graph.

    Raises:
        FormatError: there is none, or more than one.
    """
    found = [n for n, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise FormatError(
            f"graph {name!r}: found {kind.__name__} nodes {found}, expected exactly one"
        )
    return str(found[0])


def without(name: str, edges: Sequence[Edge]) -> list[Edge]:
    """The edges without node `name`: its predecessors lead to its successors."""
    before = [a for a, b in edges if b == name]
    after = [b for a, b in edges if a == name]
    kept = [edge for edge in edges if name not in edge]
    return [*kept, *((a, b) for a in before for b in after)]


def unchecked(content: Mapping[str, Any]) -> dict[str, Any]:
    """A graph from HDF5 with complete nodes, and NIR's type check off at every depth.

    That check adds nodes, and it is wrong for kernels that are not square.
    """
    nodes = {
        name: unchecked(node) if node["type"] == "NIRGraph" else completed(node)
        for name, node in content["nodes"].items()
    }
    return {**content, "nodes": nodes, "type_check": False}


def primitives(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The type of each node of a graph from HDF5, at every depth, by name."""
    kinds: dict[str, str] = {}
    for name, node in content["nodes"].items():
        kind = str(node["type"])
        if kind == "NIRGraph":
            kinds |= primitives(node, f"{prefix}{name}{JOINT}")
        else:
            kinds[prefix + name] = kind
    return kinds
