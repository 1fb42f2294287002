"""A torch network whose weights and biases are on the power-of-two grid.

Gradients pass straight through the rounding, so the same network trains and runs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stars.grid.quantization import NodeGrid
from stars.networks.blueprint import Activation, Blueprint, ConvBN, Head
from stars.networks.convolution import conv2d
from stars.networks.lif import Backend, LIFConstants, LIFLayer
from stars.networks.network import Network


def rounded(x: Tensor, exponent: int, limit: int | None) -> Tensor:
    """`x` rounded to multiples of 2^exponent, at most +-limit; the gradient is 1."""
    step = 2.0**exponent
    steps = (x / step).round()
    on_grid = (steps if limit is None else steps.clamp(-limit, limit)) * step
    return x + (on_grid - x).detach()


class GridLayer(nn.Module):
    """A convolution or a linear layer whose weights and biases are on the grid.

    Args:
        weight, bias: initial values, which need not be on the grid.
        grid: the steps and limits of the rounding.
        spec: of the convolution; None for the head.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, grid: NodeGrid, spec: ConvBN | None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float())
        self.bias = nn.Parameter(bias.float())
        self.grid = grid
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        """The layer's current; exact in float32 within the bit budget."""
        weight, bias = self.on_grid()
        with torch.autocast(x.device.type, enabled=False):
            if self.spec is None:
                return F.linear(x.float(), weight, bias)
            stride, padding = self.spec.stride, self.spec.padding
            return conv2d(x.float(), weight, bias, stride, padding)

    def on_grid(self) -> tuple[Tensor, Tensor]:
        """Weight and bias on the grid."""
        grid = self.grid
        return (
            rounded(self.weight, grid.weight_exponent, grid.weight_limit),
            rounded(self.bias, grid.bias_exponent, grid.bias_limit),
        )

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias on the grid, float64."""
        weight, bias = self.on_grid()
        return weight.double(), bias.double()


def grid_network(
    blueprint: Blueprint,
    steps: int,
    constants: LIFConstants,
    grids: Mapping[str, NodeGrid],
    backend: Backend = "norse-eager",
) -> Network:
    """A network of `GridLayer`s, with zero weights."""

    def convolution(spec: ConvBN) -> nn.Module:
        shape = (spec.channels[1], spec.channels[0], spec.kernel, spec.kernel)
        zeros = torch.zeros(shape), torch.zeros(spec.channels[1])
        return GridLayer(*zeros, grids[spec.name], spec)

    def head(spec: Head) -> nn.Module:
        zeros = torch.zeros(spec.classes, spec.features), torch.zeros(spec.classes)
        return GridLayer(*zeros, grids[spec.name], None)

    def activation(spec: Activation) -> nn.Module:
        return LIFLayer(constants, steps, encodes=spec.encodes, backend=backend)

    network = Network(blueprint, activation, steps, convolution, head, sum_pooling=True)
    return network.to(memory_format=torch.channels_last)


def layer_grids(network: Network) -> dict[str, NodeGrid]:
    """The grid of each layer that has one, by name."""
    return {
        name: layer.grid
        for name, layer in network.layers.items()
        if isinstance(layer, GridLayer)
    }
