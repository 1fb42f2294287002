"""Grid training: puts the student on the power-of-two grid and fine-tunes it.

BN is folded and every layer's weights become 8-bit integers times a power of two. Then
the network trains on with straight-through rounding in float32. There is no autocast,
because bf16 computes another network. After every step the network is projected onto
the bit budget, so the certificate holds by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from stars.errors import LimitError
from stars.graph.encoding import DirectEncoding
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.plan import ACCUMULATOR_BITS, BIAS_LIMIT
from stars.grid.quantization import NodeGrid, grid_of, weighted
from stars.grid.rewrite import sum_pools
from stars.networks.blueprint import Activation, AvgPool, ConvBN, Head
from stars.networks.grid_layers import GridLayer, grid_network
from stars.networks.lif import DT
from stars.networks.network import Network
from stars.networks.student import lif_layers, to_graph

ACCUMULATOR_LIMIT = 2**ACCUMULATOR_BITS - 1  # units
HEADROOM = 0.8  # share of the budget that may be used before fine-tuning
COARSEST = 24  # how often a layer's step may double


@dataclass(frozen=True)
class Arrival:
    """A layer that feeds a population, and the range of its inputs.

    Args:
        layer: its name.
        low, high: interval of each input channel, in units of 2^exponent, [C].
        exponent: of the input's unit; 0 for spikes and their sums.
    """

    layer: str
    low: Tensor
    high: Tensor
    exponent: int


@dataclass(frozen=True)
class PopulationBudget:
    """The layers that feed one population, and its bit budget.

    Args:
        name: of the population; "readout" for the last.
        arrivals: its weighted inputs.
        shortcuts: number of identity shortcuts; each adds a spike of weight 1.
        limit: largest current, in units, at which the membrane fits the register.
    """

    name: str
    arrivals: tuple[Arrival, ...]
    shortcuts: int
    limit: float

    @property
    def bias_limit(self) -> int:
        """The largest bias of each layer, in units, so that the sum of biases fits."""
        return BIAS_LIMIT // len(self.arrivals)

    def unit(self, grids: Mapping[str, NodeGrid]) -> int:
        """log2 of the finest step among the currents of its layers."""
        return min(grids[a.layer].weight_exponent + a.exponent for a in self.arrivals)


def to_grid(student: Network, encoding: DirectEncoding) -> Network:
    """A copy of `student` on the grid, with folded BN and with sums for means.

    Each layer gets the finest step with which its weights fit 8 bits and its population
    fits the bit budget with some headroom.

    Raises:
        LimitError: there is no such step.
    """
    graph = sum_pools(to_graph(student, encoding))
    parameters = {
        name: (torch.tensor(node.weight), torch.tensor(node.bias))
        for name, node in weighted(graph)
    }
    grids = choose_grids(graph, budgets(student, encoding), parameters)
    lif = next(iter(lif_layers(student).values()))
    network = grid_network(
        student.blueprint, student.steps, lif.constants, grids, lif.backend
    )
    with torch.no_grad():
        for name, (weight, bias) in parameters.items():
            layer = cast("GridLayer", network.layers[name])
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return network


def budgets(network: Network, encoding: DirectEncoding) -> tuple[PopulationBudget, ...]:
    """Every population with the intervals of its inputs and its bit budget.

    A leaky membrane stays below (1 - (1 - k)^T) / k times its largest current, with
    k = dt / tau of its own layer. A readout stays below T times its largest current.
    """
    blueprint, steps, neurons = network.blueprint, network.steps, lif_layers(network)
    levels = torch.from_numpy(encoding.levels())
    layers = {spec.name: spec for spec in blueprint.layers}

    def arrival(spec: ConvBN | Head) -> Arrival:
        if spec.source == "input":
            low, high = levels.min(1).values, levels.max(1).values
            return Arrival(spec.name, low, high, encoding.exponent)
        source = layers[spec.source]
        channels = spec.channels[0] if isinstance(spec, ConvBN) else spec.features
        most = source.kernel**2 if isinstance(source, AvgPool) else 1
        high = torch.full((channels,), most)
        return Arrival(spec.name, torch.zeros_like(high), high, 0)

    result = []
    for spec in blueprint.layers:
        if isinstance(spec, Activation):
            feeding = [layers[source] for source in spec.sources]
            arrivals = tuple(arrival(s) for s in feeding if isinstance(s, ConvBN))
            k = DT / neurons[spec.name].constants.tau
            gain = (1 - (1 - k) ** steps) / k
            result.append(
                PopulationBudget(
                    spec.name,
                    arrivals,
                    len(feeding) - len(arrivals),
                    ACCUMULATOR_LIMIT / gain,
                )
            )
        elif isinstance(spec, Head):
            limit = ACCUMULATOR_LIMIT / steps
            result.append(PopulationBudget("readout", (arrival(spec),), 0, limit))
    return tuple(result)


def choose_grids(
    graph: SpikingGraph,
    populations: Sequence[PopulationBudget],
    parameters: Mapping[str, tuple[Tensor, Tensor]],
) -> dict[str, NodeGrid]:
    """The finest steps with which every population fits its budget, by `grid_of`.

    Unlike `stars.grid.quantize`, this leaves headroom for further training and never
    clips a bias, even if weights become coarser. Biases fit 12 bits of the population's
    unit, as in netx files.

    Raises:
        LimitError: no step fits.
    """

    def crowded(grids: Mapping[str, NodeGrid]) -> list[str]:
        return [p.name for p in populations if not has_headroom(p, grids, parameters)]

    chosen = grid_of(graph, crowded=crowded, doublings=COARSEST)
    if wrong := crowded(chosen):
        raise LimitError(
            "grid training",
            [
                f"population {name!r}: no power-of-two step keeps its currents and"
                " biases in the register"
                for name in wrong
            ],
        )
    return {
        arrival.layer: NodeGrid(
            chosen[arrival.layer].weight_exponent,
            population.unit(chosen),
            population.bias_limit,
        )
        for population in populations
        for arrival in population.arrivals
    }


def has_headroom(
    population: PopulationBudget,
    grids: Mapping[str, NodeGrid],
    parameters: Mapping[str, tuple[Tensor, Tensor]],
) -> bool:
    """Whether the largest current leaves headroom, and no bias is clipped."""
    unit = 2.0 ** population.unit(grids)
    biases = (parameters[a.layer][1].abs().max() for a in population.arrivals)
    current = float(largest_current(population, parameters).max())
    return (
        current <= HEADROOM * population.limit * unit
        and float(max(biases)) <= population.bias_limit * unit
    )


def largest_current(
    budget: PopulationBudget, parameters: Mapping[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """The largest |current| that any input can cause, for each output channel [C']."""
    most: Tensor | float = float(budget.shortcuts)
    least: Tensor | float = 0.0
    for arrival in budget.arrivals:
        weight, bias = parameters[arrival.layer]
        per_input = (
            weight.flatten(2).double() if weight.ndim == 4 else weight[..., None]
        )
        interval = torch.stack([arrival.low, arrival.high]).to(per_input)
        ends = per_input * interval[:, None, :, None] * 2.0**arrival.exponent
        most = most + ends.amax(0).clamp(min=0).sum((1, 2)) + bias.double()
        least = least + ends.amin(0).clamp(max=0).sum((1, 2)) + bias.double()
    return torch.maximum(torch.as_tensor(most).abs(), torch.as_tensor(least).abs())


class BudgetProjection:
    """Projects a grid network onto its bit budget; call it after every step."""

    def __init__(self, network: Network, encoding: DirectEncoding) -> None:
        self.network = network
        self.budgets = budgets(network, encoding)

    @torch.no_grad()
    def __call__(self) -> int:
        """Clamp weights and biases, and shrink channels over budget; their number.

        Shrinking repeats until the budget holds, because weights are rounded again and
        an identity shortcut does not shrink. Each turn shrinks by at least a twentieth.
        """
        return sum(self._project(budget) for budget in self.budgets)

    def _project(self, budget: PopulationBudget) -> int:
        layers = {
            a.layer: cast("GridLayer", self.network.layers[a.layer])
            for a in budget.arrivals
        }
        for layer in layers.values():
            layer.weight.clamp_(
                *limits(layer.grid.weight_exponent, layer.grid.weight_limit)
            )
            layer.bias.clamp_(*limits(layer.grid.bias_exponent, budget.bias_limit))
        unit = budget.unit({name: layer.grid for name, layer in layers.items()})
        limit = budget.limit * 2.0**unit
        current = current_on_grid(budget, layers)
        shrunk = int((current > limit).sum())
        while bool((current > limit).any()):
            shrink = torch.where(current > limit, 0.95 * limit / current, 1.0).float()
            for layer in layers.values():
                shape = (-1,) + (1,) * (layer.weight.ndim - 1)
                layer.weight.mul_(shrink.reshape(shape))
                layer.bias.mul_(shrink)
            current = current_on_grid(budget, layers)
        return shrunk


def current_on_grid(
    budget: PopulationBudget, layers: Mapping[str, GridLayer]
) -> Tensor:
    """`largest_current` of the rounded weights and biases, [C']."""
    return largest_current(budget, {n: layer.on_grid() for n, layer in layers.items()})


def limits(exponent: int, count: int) -> tuple[float, float]:
    """The interval of +-`count` steps of 2^exponent."""
    return -count * 2.0**exponent, count * 2.0**exponent
