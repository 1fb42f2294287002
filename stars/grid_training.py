"""Grid training: the student on the power-of-two grid, fine-tuned on the same images.

BN is folded, every layer's weights become 8-bit integers times a power of two, and the
network learns on with straight-through rounding in float32; no autocast, for bf16 on
the grid is another network. After every step it is projected onto the bit budget, so
that the certificate holds by construction and not by luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from stars.architectures.blueprint import Activation, AvgPool, Blueprint, ConvBN, Head
from stars.architectures.network import Network
from stars.encode import DirectEncoding
from stars.errors import LimitError
from stars.grid import weight_exponent
from stars.grid_network import WEIGHT_LIMIT, GridLayer, LayerGrid, grid_network
from stars.plan import ACCUMULATOR_BITS, BIAS_LIMIT
from stars.student import effective, lif_layers

ACCUMULATOR_LIMIT = 2**ACCUMULATOR_BITS - 1  # units
HEADROOM = 0.8  # share of the budget that may be used before the fine-tuning starts
COARSEST = 24  # how often a layer's step may double before we give up


@dataclass(frozen=True)
class Arrival:
    """A layer that feeds a population, and what its inputs can be.

    Args:
        layer: its name.
        low, high: interval of each input channel, in units of 2^exponent, [C].
        exponent: of the input: 0 for spikes and their sums.
    """

    layer: str
    low: Tensor
    high: Tensor
    exponent: int


@dataclass(frozen=True)
class PopulationBudget:
    """The layers that meet in one population.

    Args:
        name: of the population; "readout" for the last.
        arrivals: its weighted inputs.
        shortcuts: number of identity shortcuts; each adds a spike of weight 1.
        limit: largest current, in units, that keeps its membrane in the register.
    """

    name: str
    arrivals: tuple[Arrival, ...]
    shortcuts: int
    limit: float


def to_grid(student: Network, encoding: DirectEncoding) -> Network:
    """A copy of `student` on the grid: BN folded, means as sums, steps chosen.

    The step of each layer is the finest that holds its weights in 8 bits and leaves its
    population inside the bit budget with some headroom.

    Raises:
        LimitError: no step does.
    """
    parameters = folded_parameters(student)
    grids: dict[str, LayerGrid] = {}
    for budget in budgets(student.blueprint, encoding, student.steps):
        grids |= choose_grids(budget, parameters)
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


def folded_parameters(student: Network) -> dict[str, tuple[Tensor, Tensor]]:
    """Folded weight and bias of each layer; a pool's 1 / area goes into the next."""
    areas = {
        spec.name: spec.kernel**2
        for spec in student.blueprint.layers
        if isinstance(spec, AvgPool)
    }
    parameters = {}
    for spec in student.blueprint.layers:
        if isinstance(spec, ConvBN | Head):
            weight, bias = map(torch.from_numpy, effective(student.layers[spec.name]))
            parameters[spec.name] = (weight / areas.get(spec.source, 1), bias)
    return parameters


def budgets(
    blueprint: Blueprint, encoding: DirectEncoding, steps: int
) -> tuple[PopulationBudget, ...]:
    """Every population with its inputs' intervals and its bit budget.

    A leaky membrane with k = 1/2 stays below 2 (1 - 2^-T) times its largest current, a
    readout below T times.
    """
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
            gain = 2 * (1 - 2.0**-steps)
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
    budget: PopulationBudget, parameters: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, LayerGrid]:
    """The finest steps with which the population's layers fit its budget.

    Unlike `stars.grid.grid_of`, which rounds a network that learns no more, this leaves
    headroom to learn in, and rather coarsens weights than clip a bias. Biases stay
    within 12 bits of the population's unit, as netx files hold them.

    Raises:
        LimitError: none does.
    """
    exponents = {
        a.layer: weight_exponent(float(parameters[a.layer][0].abs().max()))
        for a in budget.arrivals
    }
    bias_limit = BIAS_LIMIT // len(budget.arrivals)
    largest_bias = max(
        float(parameters[a.layer][1].abs().max()) for a in budget.arrivals
    )
    for _ in range(COARSEST):
        units = {a.layer: exponents[a.layer] + a.exponent for a in budget.arrivals}
        unit = min(units.values())
        current = float(largest_current(budget, parameters).max())
        fits = current <= HEADROOM * budget.limit * 2.0**unit
        if fits and largest_bias <= bias_limit * 2.0**unit:
            return {
                name: LayerGrid(exponent, unit, bias_limit)
                for name, exponent in exponents.items()
            }
        for name in exponents:
            exponents[name] += units[name] == unit
    raise LimitError(
        "grid training",
        [
            f"population {budget.name!r}: no power-of-two step keeps its current of up"
            f" to {current:.3g} and bias of up to {largest_bias:.3g} in the register"
        ],
    )


def largest_current(
    budget: PopulationBudget, parameters: Mapping[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """The largest |current| that any input can cause, per output channel, [C']."""
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
    """Puts a grid network back onto its bit budget; to be called after every step."""

    def __init__(self, network: Network, encoding: DirectEncoding) -> None:
        self.network = network
        self.budgets = budgets(network.blueprint, encoding, network.steps)

    @torch.no_grad()
    def __call__(self) -> int:
        """Clamp weights and biases, shrink channels over budget; their number.

        Shrunk weights are rounded anew, and an identity shortcut does not shrink: so it
        is repeated until the budget holds. Every turn takes at least a twentieth.
        """
        return sum(self._project(budget) for budget in self.budgets)

    def _project(self, budget: PopulationBudget) -> int:
        layers = {
            a.layer: cast("GridLayer", self.network.layers[a.layer])
            for a in budget.arrivals
        }
        for layer in layers.values():
            layer.weight.clamp_(*limits(layer.grid.weight, WEIGHT_LIMIT))
            layer.bias.clamp_(*limits(layer.grid.bias, layer.grid.bias_limit))
        unit = min(layers[a.layer].grid.weight + a.exponent for a in budget.arrivals)
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
    """`largest_current` of weights and biases as they are rounded, [C']."""
    return largest_current(budget, {n: layer.on_grid() for n, layer in layers.items()})


def limits(exponent: int, count: int) -> tuple[float, float]:
    """The interval of `count` steps of 2^exponent to each side."""
    return -count * 2.0**exponent, count * 2.0**exponent
