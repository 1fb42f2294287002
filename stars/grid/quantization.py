"""quantize(graph) -> graph: rounds a graph to the power-of-two grid.

On the grid every weight and bias is an integer times a power of two. Then sums are
exact in any order, and all targets agree as long as the sums stay within their
registers; `stars.grid.certify` proves that. `grid_of` chooses the steps of the grid,
both for `quantize` and for training on the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import AliasChoices, Field

from stars.errors import GraphError, LimitError
from stars.graph.nodes import (
    IF,
    LIF,
    Array,
    CubaLIF,
    Input,
    Map,
    Neuron,
    Scale,
    SumPool2d,
    Weighted,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.exact import dyadic, largest
from stars.grid.lowering import lower, place_all
from stars.grid.plan import BIAS_LIMIT, WEIGHT_LIMIT
from stars.grid.rewrite import (
    fold_resistances,
    round_decays,
    sum_pools,
    with_truncating_decay,
)

WEIGHT_BITS = 8  # with the sign
DOUBLINGS = 4  # of a node's step at most; more would leave too few weight bits


def weight_exponent(max_abs: float, *, bits: int = WEIGHT_BITS) -> int:
    """The least e with round(max_abs / 2^e) <= 2^(bits - 1) - 1; 0 for max_abs = 0."""
    if max_abs == 0:
        return 0
    mantissa, exponent = math.frexp(max_abs)
    fits = round(mantissa * 2 ** (bits - 1)) < 2 ** (bits - 1)
    return exponent - (bits - 1) + (not fits)


@dataclass(frozen=True)
class NodeGrid:
    """The grid of one node or layer with weights.

    Args:
        weight_exponent: log2 of the weights' step.
        bias_exponent: log2 of the bias's step. `quantize` takes the weights' step times
            the input's; grid training takes the unit of the population.
        bias_limit: largest integer bias; None if only the population limits it.
        weight_limit: largest integer weight.

    Student files of version 0.1 name the exponents "weight" and "bias".
    """

    weight_exponent: Annotated[
        int, Field(validation_alias=AliasChoices("weight_exponent", "weight"))
    ]
    bias_exponent: Annotated[
        int, Field(validation_alias=AliasChoices("bias_exponent", "bias"))
    ]
    bias_limit: int | None = None
    weight_limit: int = WEIGHT_LIMIT

    def weight(self, value: Array) -> Array:
        """Weights rounded to the grid, half to even, and clipped."""
        q: Array = np.rint(np.ldexp(value, -self.weight_exponent))
        q = np.clip(q, -self.weight_limit, self.weight_limit)
        return np.ldexp(q, self.weight_exponent)

    def bias(self, value: Array) -> Array:
        """Biases rounded to the grid, half to even."""
        q: Array = np.rint(np.ldexp(value, -self.bias_exponent))
        return np.ldexp(q, self.bias_exponent)


def is_on_grid(graph: SpikingGraph) -> bool:
    """Whether `graph` has an integer plan: on the grid, with 8-bit weights.

    Raises:
        UnsupportedNodeError: a node has no integer form.
    """
    try:
        lower(graph)
    except (GraphError, LimitError):
        return False
    return True


@dataclass(frozen=True, eq=False)
class Quantization:
    """The graph before and after rounding, and the grid of each node.

    Args:
        exact: the graph before rounding, with pools and resistances in the weights.
        graph: the graph on the grid; its nodes have the same names as in `exact`.
        grids: by name of each node with weights; empty if nothing was rounded.
    """

    exact: SpikingGraph
    graph: SpikingGraph
    grids: Mapping[str, NodeGrid]


def quantize(
    graph: SpikingGraph,
    *,
    bits: int = WEIGHT_BITS,
    round_decay: bool = False,
    truncating_decay: bool = False,
) -> SpikingGraph:
    """`graph` rounded to the grid; see `quantization`."""
    return quantization(
        graph, bits=bits, round_decay=round_decay, truncating_decay=truncating_decay
    ).graph


def quantization(
    graph: SpikingGraph,
    *,
    bits: int = WEIGHT_BITS,
    round_decay: bool = False,
    truncating_decay: bool = False,
) -> Quantization:
    """`graph` rounded to the grid, with the grid of each node.

    A graph that is on the grid already is not changed. Else mean pools become sum
    pools, and their 1 / area moves into the next weights. An r that is no power of two
    moves into the weights before. Weights are rounded to one power-of-two step per
    node, biases and thresholds to the grid of the currents that arrive with them. A
    step is doubled, at most four times, if sums do not fit a target's registers or a
    bias does not fit the chip's mantissa. A bias that needs more is clipped, because
    clipping a bias costs less accuracy than dropping weight bits.

    Args:
        graph: with v_leak = v_reset.
        bits: of a weight, with the sign; 2 to 8.
        round_decay: round each k = dt / tau to the nearest 2^-j instead of raising.
        truncating_decay: let each decay truncate as the chip does; see
            `stars.grid.with_truncating_decay`.

    Raises:
        GraphError: `bits` is out of range, or a value cannot be put on the grid.
        LimitError: no step makes the graph fit the chip; holds every violation.
    """
    check_bits(bits)
    pooled = sum_pools(round_decays(graph) if round_decay else graph)
    finish = with_truncating_decay if truncating_decay else lambda graph: graph
    if is_on_grid(pooled) and widest(pooled) <= weight_limit(bits):
        return Quantization(pooled, finish(pooled), {})
    exact = fold_resistances(pooled)
    grids = grid_of(exact, bits=bits)
    result = rounded(exact, grids)
    lower(result)
    return Quantization(exact, finish(result), grids)


Grids = Mapping[str, NodeGrid]


def grid_of(
    graph: SpikingGraph,
    *,
    bits: int = WEIGHT_BITS,
    crowded: Callable[[Grids], Iterable[str]] | None = None,
    doublings: int = DOUBLINGS,
) -> dict[str, NodeGrid]:
    """The grid of each node with weights, as fine as `bits` and the registers allow.

    Each node starts with the finest step that holds its weights. In each crowded
    population the finest steps that meet there are doubled, until none is crowded.

    Args:
        graph: without mean pools that are off the grid (see `sum_pools`).
        bits: of a weight, with the sign; 2 to 8.
        crowded: returns the populations that do not fit on given grids. Default: those
            that exceed the chip's registers or the bits of float32, or that clip a bias
            which a coarser step would hold.
        doublings: largest number for each step; after that the grids are returned as
            they are.

    Raises:
        GraphError: `bits` is not 2 to 8, or a neuron's parameter is off the grid.
    """
    check_bits(bits)
    exponents = {
        name: weight_exponent(float(np.abs(node.weight).max(initial=0)), bits=bits)
        for name, node in weighted(graph)
    }
    find = crowded or without_room(graph, exponents, weight_limit(bits))
    for _ in range(doublings):
        grids = node_grids(graph, exponents, weight_limit(bits))
        too_fine = nodes_to_coarsen(graph, exponents, find(grids))
        if not too_fine:
            return grids
        exponents |= {name: exponents[name] + 1 for name in too_fine}
    return node_grids(graph, exponents, weight_limit(bits))


def check_bits(bits: int) -> None:
    """Raise if weights on the grid cannot have this width.

    Raises:
        GraphError: `bits` is not 2 to 8.
    """
    if not 2 <= bits <= WEIGHT_BITS:
        raise GraphError(f"bits is {bits}; it must be 2 to {WEIGHT_BITS}")


def weight_limit(bits: int) -> int:
    """The largest integer weight of `bits` bits, sign included."""
    return int(2 ** (bits - 1)) - 1


def widest(graph: SpikingGraph) -> int:
    """The largest integer weight in a graph on the grid."""
    weights = (dyadic(node.weight, "weight") for _, node in weighted(graph))
    return max((largest(w.mantissas) for w in weights), default=0)


def weighted(graph: SpikingGraph) -> list[tuple[str, Weighted]]:
    """The nodes with weights, in execution order."""
    nodes = ((name, graph.nodes[name]) for name in graph.order)
    return [(name, node) for name, node in nodes if isinstance(node, Weighted)]


def node_grids(
    graph: SpikingGraph, exponents: Mapping[str, int], limit: int
) -> dict[str, NodeGrid]:
    """The grid of each node, from the exponent of its weights."""
    outputs = output_grids(graph, exponents)
    return {
        name: NodeGrid(exponent, outputs[name], weight_limit=limit)
        for name, exponent in exponents.items()
    }


def output_grids(graph: SpikingGraph, exponents: Mapping[str, int]) -> dict[str, int]:
    """log2 of the step of each node's output, from the exponents of the weights."""
    grids: dict[str, int] = {}
    for name in graph.order:
        node = graph.nodes[name]
        arriving = min((grids[p] for p in graph.predecessors(name)), default=0)
        if isinstance(node, Input):
            grids[name] = graph.encoding.exponent if graph.encoding else 0
        elif isinstance(node, Neuron):
            grids[name] = 0
        elif isinstance(node, SumPool2d | Scale):
            grids[name] = arriving + dyadic(np.asarray(node.scale), "scale").exponent
        else:
            grids[name] = arriving + exponents.get(name, 0)
    return grids


def nodes_to_coarsen(
    graph: SpikingGraph, exponents: Mapping[str, int], populations: Iterable[str]
) -> set[str]:
    """The nodes that set the finest step of any of the populations."""
    grids = output_grids(graph, exponents)
    found: set[str] = set()
    for name in populations:
        ways = [p for p in graph.predecessors(name) if weights_from(graph, p)]
        finest = min((grids[p] for p in ways), default=0)
        for way in ways:
            if grids[way] == finest:
                found |= set(weights_from(graph, way))
    return found


def without_room(
    graph: SpikingGraph, exponents: Mapping[str, int], limit: int
) -> Callable[[Grids], set[str]]:
    """The default `crowded` of `grid_of`, for steps that start at `exponents`.

    Violations that even the coarsest steps cannot fix are ignored, such as the bits of
    float32 over many steps of an exact decay.
    """
    coarsest = {name: exponent + DOUBLINGS for name, exponent in exponents.items()}
    grids = node_grids(graph, coarsest, limit)
    lost = clipped_populations(graph, grids)
    hopeless = beyond_float32(rounded(graph, grids))

    def find(grids: Grids) -> set[str]:
        result = rounded(graph, grids)
        crowded = off_chip(result) or beyond_float32(result) - hopeless
        return crowded | clipped_populations(graph, grids) - lost

    return find


def clipped_populations(graph: SpikingGraph, grids: Grids) -> set[str]:
    """Names of the populations with a bias that the chip's mantissa cannot hold."""
    steps = output_grids(graph, {n: grid.weight_exponent for n, grid in grids.items()})
    found = set()
    for name in graph.neurons:
        unit = min(steps[p] for p in graph.predecessors(name))
        total = np.ldexp(direct_bias(graph, name), -unit)
        if np.abs(total).max() > 2 * BIAS_LIMIT + 1:
            found.add(name)
    return found


def off_chip(graph: SpikingGraph) -> set[str]:
    """Names of the populations that exceed the chip's registers."""
    return {p.population.name for p in place_all(graph) if p.violations}


def beyond_float32(graph: SpikingGraph) -> set[str]:
    """Names of the populations that fit the chip, but not the bits of float32."""
    return {row.name for row in certify(graph).populations if not row.fits}


def weights_from(graph: SpikingGraph, source: str) -> list[str]:
    """The last nodes with weights on each path up to `source`, itself included."""
    node = graph.nodes[source]
    if isinstance(node, Weighted):
        return [source]
    if not isinstance(node, Map):
        return []
    return [n for p in graph.predecessors(source) for n in weights_from(graph, p)]


def rounded(graph: SpikingGraph, grids: Mapping[str, NodeGrid]) -> SpikingGraph:
    """`graph` with weights, biases, thresholds and resets rounded to `grids`."""
    nodes = {
        name: replace(
            node,
            weight=grids[name].weight(node.weight),
            bias=grids[name].bias(node.bias),
        )
        for name, node in weighted(graph)
    }
    graph = graph.replace_nodes(nodes)
    exponents = {name: grid.weight_exponent for name, grid in grids.items()}
    steps = output_grids(graph, exponents)
    for name in graph.neurons:
        unit = min(steps[p] for p in graph.predecessors(name))
        graph = clip_bias(graph, name, unit)
        graph = round_neuron(graph, name, unit)
    return graph


def clip_bias(graph: SpikingGraph, name: str, unit: int) -> SpikingGraph:
    """`graph` with the bias of neuron `name` clipped to the chip's mantissa.

    The mantissa holds 12 bits of units, or 13 bits of even units. The biases of all
    nodes directly before `name` add; the first of these nodes is changed.
    """
    total = np.ldexp(direct_bias(graph, name), -unit)
    if np.abs(total).max() <= BIAS_LIMIT:
        return graph
    allowed = np.clip(2 * np.rint(total / 2), -2 * BIAS_LIMIT, 2 * BIAS_LIMIT)
    first, node = next(iter(directly_before(graph, name).items()))
    bias = node.bias + np.ldexp(allowed - total, unit)
    return graph.replace_nodes({first: replace(node, bias=bias)})


def directly_before(graph: SpikingGraph, name: str) -> dict[str, Weighted]:
    """The nodes with weights directly before neuron `name`."""
    before = ((p, graph.nodes[p]) for p in graph.predecessors(name))
    return {p: node for p, node in before if isinstance(node, Weighted)}


def direct_bias(graph: SpikingGraph, name: str) -> Array:
    """The sum of the biases directly before neuron `name`, one for each channel."""
    biases = (node.bias for node in directly_before(graph, name).values())
    return np.asarray(sum(biases, np.zeros(1)))


def round_neuron(graph: SpikingGraph, name: str, unit: int) -> SpikingGraph:
    """`graph` with the voltages of neuron `name` rounded to the grid of its increments.

    One increment is k r 2^unit, or dt r 2^unit without leak. A synaptic current
    multiplies it by (dt / tau_syn) w_in. If that is no power of two, nothing is changed
    and the lowering raises later.
    """
    node = graph.nodes[name]
    if isinstance(node, LIF):
        gain = graph.dt / node.tau * node.r
    elif isinstance(node, CubaLIF):
        gain = graph.dt / node.tau_mem * node.r * (graph.dt / node.tau_syn * node.w_in)
    elif isinstance(node, IF):
        gain = graph.dt * node.r
    else:
        return graph
    fraction, exponent = np.frexp(gain)
    if (fraction != 0.5).any() or np.ptp(exponent):
        return graph
    step = unit + int(exponent.flat[0]) - 1
    volts = {
        field: np.ldexp(np.rint(np.ldexp(getattr(node, field), -step)), step)
        for field in ("v_leak", "v_threshold", "v_reset")
        if hasattr(node, field)
    }
    return graph.replace_nodes({name: replace(node, **volts)})
