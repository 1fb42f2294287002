"""Affine: a dense matrix and a bias."""

from __future__ import annotations

from dataclasses import dataclass

from stars.errors import GraphError
from stars.graph.nodes.base import Array, Map, Shape, frozen_array


@dataclass(frozen=True, eq=False)
class Affine(Map):
    """y = W x + b.

    Args:
        weight: W, [out, in].
        bias: b, [out].
    """

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen_array(self.weight, "weight", 2))
        object.__setattr__(self, "bias", frozen_array(self.bias, "bias", 1))
        if self.bias.shape != self.weight.shape[:1]:
            raise GraphError(
                f"bias has shape {self.bias.shape}, expected {self.weight.shape[:1]}"
                f" from weight {self.weight.shape}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        """(out,) for an input of shape (in,)."""
        if shape != self.weight.shape[1:]:
            raise GraphError(
                f"input has shape {shape}, expected {self.weight.shape[1:]}"
                f" from weight {self.weight.shape}"
            )
        return self.weight.shape[:1]

    def apply(self, x: Array) -> Array:
        """The output [B, out] for x [B, in]."""
        return x @ self.weight.T + self.bias
