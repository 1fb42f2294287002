"""SpikingGraph: the network as data. Files store it and targets run it.

Its semantics, which NIR leaves open:

- Within a step, nodes are synchronous and without delay: a spike of one node at step t
  reaches the next node at step t.
- Several edges into one node add.
- In a cycle some edges deliver the value of the previous step; `stars.graph.delays` has
  the rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from stars.errors import GraphError, UnsupportedNodeError
from stars.graph.delays import Edge, delayed_edges
from stars.graph.encoding import Encoding
from stars.graph.nodes import Delay, Input, Map, Neuron, Node, Output, Shape, Stateful

LONGEST = 2**20  # steps
LARGEST = 2**28  # values in one node's output of one step


@dataclass(frozen=True, eq=False)
class SpikingGraph:
    """Named nodes and the edges between them, validated and immutable.

    Args:
        nodes: by name; exactly one `Input` and one `Output`.
        edges: (from, to); no duplicates, no cycle of maps alone. They are sorted by
            execution order.
        dt: seconds per step.
        steps: T, the number of steps of one input.
        encoding: how images become the input; None if unknown.
        metadata: free text by name; stored in the files.

    Attributes:
        delayed: edges that deliver the value of the previous step, and zeros in the
            first step; empty without a cycle.
        order: names in execution order (ties by the order of `nodes`).
        shapes: output shape of every node, without steps and batch.

    Raises:
        GraphError: the nodes and edges do not make a runnable graph.
    """

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    dt: float
    steps: int
    encoding: Encoding | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    delayed: frozenset[Edge] = field(init=False)
    order: tuple[str, ...] = field(init=False)
    shapes: Mapping[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        if not (self.dt > 0 and self.dt < float("inf")):
            raise GraphError(f"dt is {self.dt} s; it must be positive and finite")
        if not 1 <= self.steps <= LONGEST:
            raise GraphError(f"steps is {self.steps}; it must be 1 to {LONGEST}")
        set_field = object.__setattr__
        set_field(self, "nodes", MappingProxyType(dict(self.nodes)))
        set_field(self, "metadata", MappingProxyType(dict(self.metadata)))
        edges = tuple((str(a), str(b)) for a, b in self.edges)
        check_edges(self.nodes, edges)
        set_field(self, "delayed", delayed_edges(self.nodes, edges))
        prompt = [edge for edge in edges if edge not in self.delayed]
        set_field(self, "order", topological_order(self.nodes, prompt))
        rank = {name: i for i, name in enumerate(self.order)}
        edges = tuple(sorted(edges, key=lambda e: (rank[e[1]], rank[e[0]])))
        set_field(self, "edges", edges)
        set_field(self, "shapes", MappingProxyType(self._infer_shapes()))

    def predecessors(self, name: str) -> tuple[str, ...]:
        """Names of the nodes that feed `name`, in execution order."""
        return tuple(a for a, b in self.edges if b == name)

    def successors(self, name: str) -> tuple[str, ...]:
        """Names of the nodes that `name` feeds, in execution order."""
        return tuple(b for a, b in self.edges if a == name)

    @property
    def input(self) -> str:
        """Name of the one Input."""
        return next(n for n, node in self.nodes.items() if isinstance(node, Input))

    @property
    def output(self) -> str:
        """Name of the one Output."""
        return next(n for n, node in self.nodes.items() if isinstance(node, Output))

    @property
    def neurons(self) -> tuple[str, ...]:
        """Names of the nodes with a membrane, in execution order."""
        return tuple(n for n in self.order if isinstance(self.nodes[n], Neuron))

    @property
    def spiking(self) -> tuple[str, ...]:
        """Names of the nodes that spike, in execution order."""
        return tuple(n for n in self.neurons if self.neuron(n).spiking)

    @property
    def stateful(self) -> tuple[str, ...]:
        """Names of the nodes that carry a state, in execution order."""
        return tuple(n for n in self.order if isinstance(self.nodes[n], Stateful))

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the nodes before a delayed edge, in execution order."""
        return tuple(n for n in self.order if any(a == n for a, _ in self.delayed))

    @property
    def readout(self) -> str:
        """Name of the neuron node before the output; its membrane gives the class."""
        (name,) = self.predecessors(self.output)
        if not isinstance(self.nodes[name], Neuron):
            raise GraphError(
                f"node {name!r} feeds the output but has no membrane; end the graph in"
                " an Integrator or a LIF"
            )
        return name

    def neuron(self, name: str) -> Neuron:
        """The neuron node `name`.

        Raises:
            UnsupportedNodeError: the node has no membrane.
        """
        node = self.nodes[name]
        if not isinstance(node, Neuron):
            raise UnsupportedNodeError(f"node {name!r} is a {type(node).__name__}")
        return node

    def running(self, name: str) -> Node:
        """The node to run: a Delay behind a delayed edge delays by one step less."""
        node = self.nodes[name]
        if isinstance(node, Delay) and any(b == name for _, b in self.delayed):
            return node.shortened()
        return node

    def check_supported(
        self,
        kinds: Iterable[type[Node]],
        where: str,
        *,
        cycles: bool = True,
        because: Mapping[type[Node], str] = MappingProxyType({}),
    ) -> None:
        """Raise if a back end or a target cannot express the graph.

        Args:
            kinds: types of node that it can express.
            where: start of the message, such as "NIR export: no mapping".
            cycles: whether it can deliver values one step late, as cycles need.
            because: reasons why it cannot express some types of node.

        Raises:
            UnsupportedNodeError: names every such node and edge.
        """
        known = set(kinds)
        unknown = {
            n: type(v).__name__ for n, v in self.nodes.items() if type(v) not in known
        }
        reasons = []
        if unknown:
            reasons.append(
                f"{where} for {unknown};"
                f" supported are {sorted(kind.__name__ for kind in known)}"
            )
        found = {type(node) for node in self.nodes.values()} - known
        reasons += [
            f"{kind.__name__}: {text}"
            for kind, text in because.items()
            if kind in found
        ]
        if self.delayed and not cycles:
            edges = ", ".join(f"{a!r} -> {b!r}" for a, b in sorted(self.delayed))
            reasons.append(
                f"{where} for a cycle: it needs {edges} to deliver one step late"
            )
        if reasons:
            raise UnsupportedNodeError("; ".join(reasons))

    def neuron_count(self) -> int:
        """Number of neurons, readout included."""
        return sum(math.prod(self.neuron(n).shape) for n in self.neurons)

    def replace_nodes(self, nodes: Mapping[str, Node]) -> SpikingGraph:
        """A copy in which some nodes are replaced by others of the same names."""
        unknown = set(nodes) - set(self.nodes)
        if unknown:
            raise GraphError(f"no nodes {sorted(unknown)} in {sorted(self.nodes)}")
        return SpikingGraph(
            nodes={**self.nodes, **nodes},
            edges=self.edges,
            dt=self.dt,
            steps=self.steps,
            encoding=self.encoding,
            metadata=self.metadata,
        )

    def __eq__(self, other: object) -> bool:
        """True if nodes, edges, dt, steps, encoding and metadata are equal."""
        if not isinstance(other, SpikingGraph):
            return NotImplemented
        return (
            dict(self.nodes) == dict(other.nodes)
            and set(self.edges) == set(other.edges)
            and (self.dt, self.steps) == (other.dt, other.steps)
            and self.encoding == other.encoding
            and dict(self.metadata) == dict(other.metadata)
        )

    __hash__ = None  # type: ignore[assignment]

    def _infer_shapes(self) -> dict[str, Shape]:
        stateful = {
            n: v.shape for n, v in self.nodes.items() if isinstance(v, Stateful)
        }
        shapes: dict[str, Shape] = dict(stateful)
        # Stateful nodes come first: they know their shapes, also for nodes before them.
        for name in sorted(self.order, key=stateful.__contains__):
            incoming = {p: shapes[p] for p in self.predecessors(name)}
            if len(set(incoming.values())) > 1:
                raise GraphError(
                    f"node {name!r}: its inputs add but differ in shape: {incoming}"
                )
            shape = next(iter(incoming.values()), ())
            try:
                shapes[name] = self.nodes[name].output_shape(shape)
            except GraphError as error:
                raise GraphError(f"node {name!r}: {error}") from error
            if math.prod(shapes[name]) > LARGEST:
                raise GraphError(
                    f"node {name!r}: its output {shapes[name]} has more than {LARGEST}"
                    " values"
                )
        return {name: shapes[name] for name in self.order}


def check_edges(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> None:
    """Raise on unknown names, duplicates, dead ends, or not one input and one output.

    Raises:
        GraphError: names what is wrong.
    """
    edges = list(edges)
    for kind in (Input, Output):
        found = [name for name, node in nodes.items() if isinstance(node, kind)]
        if len(found) != 1:
            raise GraphError(
                f"found {kind.__name__} nodes {found}, expected exactly one"
            )
    unknown = {name for edge in edges for name in edge} - set(nodes)
    if unknown:
        raise GraphError(f"edges name {sorted(unknown)}; nodes are {sorted(nodes)}")
    if len(set(edges)) != len(edges):
        raise GraphError("an edge appears twice; each (from, to) is allowed once")
    sources, targets = {a for a, _ in edges}, {b for _, b in edges}
    for name, node in nodes.items():
        if isinstance(node, Input) == (name in targets):
            raise GraphError(f"node {name!r} has a wrong number of incoming edges")
        if isinstance(node, Output) == (name in sources):
            raise GraphError(f"node {name!r} has a wrong number of outgoing edges")
        if not isinstance(node, Input | Output | Map | Stateful):
            raise GraphError(f"node {name!r} is a {type(node).__name__}, not a node")
        if isinstance(node, Output) and sum(b == name for _, b in edges) != 1:
            raise GraphError(f"output {name!r} needs exactly one incoming edge")


def topological_order(nodes: Iterable[str], edges: Iterable[Edge]) -> tuple[str, ...]:
    """Names such that every edge points forward; ties keep the order of `nodes`.

    Raises:
        GraphError: there is a cycle of maps alone (`edges` holds no delayed edges);
            names its members.
    """
    waiting = {name: set[str]() for name in nodes}
    for a, b in edges:
        waiting[b].add(a)
    order: list[str] = []
    while waiting:
        ready = next((n for n, needs in waiting.items() if not needs), None)
        if ready is None:
            raise GraphError(
                f"a cycle runs through some of {sorted(waiting)} without a neuron or a"
                " Delay of a step or more, so no node in it can hold a value; add one"
            )
        del waiting[ready]
        order.append(ready)
        for needs in waiting.values():
            needs.discard(ready)
    return tuple(order)
