"""Input and Output: the nodes where values enter and leave a graph."""

from __future__ import annotations

from dataclasses import dataclass

from stars.errors import GraphError
from stars.graph.nodes.base import Node, Shape


@dataclass(frozen=True, eq=False)
class Input(Node):
    """The graph's input: one array of `shape` per step."""

    shape: Shape

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if not shape or min(shape) < 1:
            raise GraphError(f"input shape {shape} needs at least one axis, all >= 1")
        object.__setattr__(self, "shape", shape)

    def output_shape(self, shape: Shape) -> Shape:  # noqa: ARG002 - has no predecessor
        """The input's own shape."""
        return self.shape


@dataclass(frozen=True, eq=False)
class Output(Node):
    """The graph's output: the value of its one predecessor."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of its input."""
        return shape
