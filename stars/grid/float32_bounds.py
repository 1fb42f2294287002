"""The bits and the range that float32 needs to compute the maps of a graph exactly.

Bits: multiples of one power of two add without rounding while their sums stay below
2^24 times that power. `value_sizes` bounds every partial sum of a map.

Range: numbers below 2^-126 lose bits or become 0, and numbers from 2^128 on become
infinite. A runtime may multiply constants before it multiplies the input, for example a
Scale into the convolution before it. So bounds on the values alone are not enough:
`range_breaks` bounds the product of every contiguous stretch of factors from one
population (or the input) to the next. For factors f_i with finest steps 2^g_i and sums
of magnitudes n_i, the products are multiples of 2^(sum of g_i) and at most the product
of the n_i.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from stars.graph.nodes import (
    IF,
    LIF,
    Array,
    CubaLIF,
    Input,
    Integrator,
    Map,
    Neuron,
    Scale,
    SumPool2d,
    Weighted,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.breaks import Break
from stars.grid.exact import bits, dyadic, largest
from stars.grid.lowering import input_interval

FLOAT32_BITS = 24
FLOAT32_FINEST = -126  # log2 of the smallest normal number
FLOAT32_LARGEST = 127  # log2; the sum of two such numbers is still finite


@dataclass(frozen=True)
class Reach:
    """The range of all products of factors that end at one place of the graph.

    Args:
        finest: log2; every product is a multiple of 2^finest, or 0.
        largest: log2; no product has a larger magnitude than 2^largest.
    """

    finest: int
    largest: float

    def times(self, factor: Reach) -> Reach:
        """The range after one more factor, with or without the factors before it."""
        return Reach(
            factor.finest + min(0, self.finest),
            factor.largest + max(0.0, self.largest),
        )

    def with_value(self, finest: int, magnitude: float) -> Reach:
        """The range that also holds multiples of 2^finest up to `magnitude`."""
        return Reach(min(self.finest, finest), max(self.largest, log2(magnitude)))

    @property
    def fits(self) -> bool:
        """Whether the whole range is inside the normal float32 numbers."""
        return self.finest >= FLOAT32_FINEST and self.largest <= FLOAT32_LARGEST


SPIKE = Reach(0, 0.0)


def log2(magnitude: float) -> float:
    """The binary logarithm; that of 0 is 0, because 0 is in every range."""
    return math.log2(magnitude) if magnitude else 0.0


def float32_breaks(graph: SpikingGraph) -> tuple[Break, ...]:
    """The places where float32 may not compute the maps of a graph exactly.

    Args:
        graph: on the grid.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sizes, grids = value_sizes(graph), value_grids(graph)
        return (*bit_breaks(graph, sizes, grids), *range_breaks(graph, sizes, grids))


def bit_breaks(
    graph: SpikingGraph, sizes: Mapping[str, Array], grids: Mapping[str, int]
) -> list[Break]:
    """The maps whose partial sums may need more than float32's 24 bits.

    The bounds are float64: exact below 2^53, and far above 2^24 if they are not exact.
    """
    found = []
    for name in graph.order:
        if not isinstance(graph.nodes[name], Map):
            continue
        need = float(np.ldexp(sizes[name].max(), -grids[name]))
        if not need <= 2**FLOAT32_BITS:
            count = ceil_log2(Fraction(need)) if math.isfinite(need) else "too many"
            text = f"float32 needs {count} bits for partial sums, has {FLOAT32_BITS}"
            found.append(Break("float32 bits", f"node {name!r}", text))
    return found


def ceil_log2(value: Fraction) -> int:
    """The least n >= 0 with value <= 2^n."""
    whole = -(-value.numerator // value.denominator)
    return bits(max(whole, 1) - 1)


def value_sizes(graph: SpikingGraph) -> dict[str, Array]:
    """The largest magnitude of each element of each node's output."""
    low, high, exponent = input_interval(graph)
    sizes: dict[str, Array] = {}
    for name in graph.order:
        node, shape = graph.nodes[name], graph.shapes[name]
        if isinstance(node, Input):
            sizes[name] = np.ldexp(np.maximum(-low, high).reshape(shape), exponent)
        elif isinstance(node, Map):
            sizes[name] = absolute(node).apply(arriving_size(graph, name, sizes)[None])[
                0
            ]
        else:
            sizes[name] = np.ones(shape)
    return sizes


def arriving_size(graph: SpikingGraph, name: str, sizes: Mapping[str, Array]) -> Array:
    """The largest magnitude of each element of a node's summed input."""
    total: Array = np.sum([sizes[p] for p in graph.predecessors(name)], axis=0)
    return total


def value_grids(graph: SpikingGraph) -> dict[str, int]:
    """For each node, log2 of the power of two that divides all its partial sums."""
    grids: dict[str, int] = {}
    for name in graph.order:
        node = graph.nodes[name]
        if isinstance(node, Input):
            grids[name] = input_interval(graph)[2]
        elif isinstance(node, Map):
            grids[name] = grid_after(
                node, min(grids[p] for p in graph.predecessors(name))
            )
        else:
            grids[name] = 0
    return grids


def absolute(node: Map) -> Map:
    """The map with the magnitudes of its weights and biases."""
    if isinstance(node, Weighted):
        return replace(node, weight=np.abs(node.weight), bias=np.abs(node.bias))
    if isinstance(node, Scale):
        return replace(node, scale=np.abs(node.scale))
    return node


def grid_after(node: Map, grid: int) -> int:
    """log2 of the power of two that divides every partial sum of a map.

    Args:
        node: the map.
        grid: of the input, log2.
    """
    product = grid + factor_exponent(node)
    if not isinstance(node, Weighted):
        return product
    bias = dyadic(node.bias, "bias")
    return min(product, bias.exponent) if largest(bias.mantissas) else product


def factor_exponent(node: Map) -> int:
    """log2 of the power of two that divides every factor of a map."""
    if isinstance(node, Weighted):
        return dyadic(node.weight, "weight").exponent
    if isinstance(node, Scale | SumPool2d):
        return dyadic(np.asarray(node.scale), "scale").exponent
    return 0


def map_factor(node: Map, shape: tuple[int, ...]) -> Reach:
    """The range of a map's factors; `shape` is the shape of its input.

    A mean pool may sum first and multiply later, so its range covers both.
    """
    exponent = factor_exponent(node)
    if isinstance(node, SumPool2d):
        return Reach(min(exponent, 0), log2(math.prod(node.kernel)))
    if isinstance(node, Weighted):
        node = replace(node, bias=np.zeros_like(node.bias))
    size = absolute(node).apply(np.ones((1, *shape))).max()
    return Reach(exponent, log2(float(size)))


def neuron_factors(node: Neuron, dt: float) -> dict[str, Array]:
    """The factors with which a neuron multiplies its input, in order, by name."""
    if isinstance(node, LIF):
        return {"r": node.r, "dt / tau": dt / node.tau}
    if isinstance(node, CubaLIF):
        return {
            "w_in": node.w_in,
            "dt / tau_syn": dt / node.tau_syn,
            "r": node.r,
            "dt / tau_mem": dt / node.tau_mem,
        }
    if isinstance(node, IF | Integrator):
        return {"dt r": dt * node.r}
    return {}


def range_breaks(
    graph: SpikingGraph, sizes: Mapping[str, Array], grids: Mapping[str, int]
) -> list[Break]:
    """The places between two populations where float32 may leave its normal range."""
    reaches: dict[str, Reach] = {}
    found: list[Break] = []
    for name in graph.order:
        node, before = graph.nodes[name], graph.predecessors(name)
        if isinstance(node, Input):
            reach = Reach(grids[name], log2(float(sizes[name].max())))
            found += outside(f"input {name!r}", reach)
        elif not before or not isinstance(node, Map | Neuron):
            continue
        else:
            arriving = arriving_size(graph, name, sizes)
            reach = together(reaches[p] for p in before)
            reach = reach.with_value(reach.finest, float(arriving.max()))
            if isinstance(node, Map):
                reach = reach.times(map_factor(node, arriving.shape))
                reach = reach.with_value(grids[name], float(sizes[name].max()))
                found += outside(f"node {name!r}", reach)
            else:
                found += neuron_breaks(name, node, graph.dt, reach)
                reach = SPIKE
        reaches[name] = reach
    return found


def together(reaches: Iterable[Reach]) -> Reach:
    """The smallest range that holds all of these ranges."""
    reaches = list(reaches)
    return Reach(min(r.finest for r in reaches), max(r.largest for r in reaches))


def neuron_breaks(name: str, node: Neuron, dt: float, reach: Reach) -> list[Break]:
    """The first factor of a neuron that leaves the range, for inputs of `reach`."""
    for what, values in neuron_factors(node, dt).items():
        factor = Reach(dyadic(values, what).exponent, log2(float(np.abs(values).max())))
        reach = reach.times(factor)
        if found := outside(f"node {name!r}, {what}", reach):
            return found
    return truncation_breaks(name, node, dt)


def truncation_breaks(name: str, node: Neuron, dt: float) -> list[Break]:
    """The constants of a truncating decay that leave the range.

    A decay in steps of g multiplies by (1 - k) / g, then by g.
    """
    if not isinstance(node, LIF | CubaLIF) or node.membrane_step is None:
        return []
    steps = {"membrane_step": (np.array(node.membrane_step), node_decay(node, dt))}
    if isinstance(node, CubaLIF):
        steps["step of the current"] = node.current_step(dt), dt / node.tau_syn
    found = []
    for what, (step, k) in steps.items():
        size = np.abs(step)
        low, high = math.log2(size.min()), math.log2(size.max())
        j = round(-math.log2(float(k.min())))
        reach = Reach(round(min(low, -high - j)), max(high, -low))
        found += outside(f"node {name!r}, {what}", reach)
    return found


def node_decay(node: LIF | CubaLIF, dt: float) -> Array:
    """The decay k = dt / tau of the membrane."""
    k: Array = dt / (node.tau if isinstance(node, LIF) else node.tau_mem)
    return k


def outside(where: str, reach: Reach) -> list[Break]:
    """One break if `reach` leaves the normal range of float32, else an empty list."""
    if reach.fits:
        return []
    most = math.ceil(reach.largest) if math.isfinite(reach.largest) else "infinity"
    text = (
        f"products of its factors range from 2^{reach.finest} to 2^{most};"
        f" float32 is exact between 2^{FLOAT32_FINEST} and 2^{FLOAT32_LARGEST}"
    )
    return [Break("float32 range", where, text)]
