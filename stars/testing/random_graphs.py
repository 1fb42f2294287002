"""Random graphs and random inputs for tests; public, like numpy.testing.

graph = random_graph(np.random.default_rng(0), kind="residual")
inputs = random_inputs(rng, graph, batch=8)
assert_same_spikes(my_target.run(graph, inputs), reference.run(graph, inputs))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stars.errors import ConfigError, GraphError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    Array,
    CubaLIF,
    Flatten,
    Input,
    Map,
    Neuron,
    Output,
    Shape,
    Stateful,
    Weighted,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.quantization import weight_exponent, weights_from
from stars.testing.kinds import ALL_KINDS, KINDS, RNG, RandomGraph

CALIBRATION_BATCH = 16
ENCODING = DirectEncoding(mean=(0.45,), deviation=(0.3,), exponent=-5)


def random_graph(
    rng: RNG,
    *,
    kind: str | None = None,
    on_grid: bool = True,
    decay_shift: int = 1,
    bias: bool = True,
    steps: int = 4,
    dt: float = 2.0**-10,
) -> SpikingGraph:
    """A small random graph whose populations usually fire at 5 to 50 %.

    Args:
        rng: the only source of randomness.
        kind: a key of `ALL_KINDS`; None draws one of `KINDS`, which have an integer
            plan on the grid. "vgg" is sequential, "residual" and "shortcut" have
            branches that meet in one population, "recurrent" has cycles.
        on_grid: if true, all values are integers times powers of two, k is
            2^-decay_shift and pools sum. Else values are real and differ between
            neurons, and pools take the mean.
        decay_shift: j in k = dt / tau = 2^-j, on the grid.
        bias: False sets every bias to 0.
        steps: T.
        dt: seconds.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind is None:
        kind = str(rng.choice(list(KINDS)))
    if kind not in ALL_KINDS:
        raise ConfigError(f"kind is {kind!r}; there are {', '.join(ALL_KINDS)}")
    draft = RandomGraph(rng, on_grid, decay_shift, bias, dt)
    ALL_KINDS[kind](draft)
    image = len(draft.shapes["input"]) == 3
    graph = SpikingGraph(
        draft.nodes, tuple(draft.edges), dt, steps, ENCODING if image else None
    )
    return calibrate(rng, graph, on_grid=on_grid)


def random_images(rng: RNG, count: int, shape: Shape) -> NDArray[np.uint8]:
    """Images [count, *shape] of uniform 8-bit noise."""
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def random_inputs(
    rng: RNG, graph: SpikingGraph, batch: int, *, steps: int | None = None
) -> Array:
    """Inputs [T, batch, *input shape]: encoded noise images, or spikes at 40 %."""
    shape = graph.shapes[graph.input]
    steps = graph.steps if steps is None else steps
    if graph.encoding is not None:
        return graph.encoding.encode(random_images(rng, batch, shape), steps)
    return (rng.random((steps, batch, *shape)) < 0.4).astype(np.float64)


def calibrate(rng: RNG, graph: SpikingGraph, *, on_grid: bool) -> SpikingGraph:
    """`graph` with each population's incoming weights scaled to a healthy firing rate.

    In execution order, the weights before a population are scaled until it fires at a
    rate drawn from 12 to 35 %. They are then rounded to the grid if `on_grid`.
    """
    inputs = random_inputs(rng, graph, CALIBRATION_BATCH)
    # Values that return through a cycle are not known yet; they start at 0.
    values = {n: np.zeros((*inputs.shape[:2], *graph.shapes[n])) for n in graph.held}
    values[graph.input] = inputs
    for name in graph.order:
        if isinstance(graph.nodes[name], Neuron):
            scaled = scale_to_rate(graph, name, values, rng.uniform(0.12, 0.35))
            if on_grid:
                scaled = {
                    n: round_to_grid(graph, n, node) for n, node in scaled.items()
                }
            graph = graph.replace_nodes(scaled)
            refresh(graph, name, values)
        if not isinstance(graph.nodes[name], Input | Output):
            values[name] = evaluate(graph, name, values)
    return graph


def evaluate(graph: SpikingGraph, name: str, values: Mapping[str, Array]) -> Array:
    """Values [T, B, ...] of node `name` over all steps, from those of its sources."""
    arriving = sum((values[p] for p in graph.predecessors(name)), start=np.zeros(()))
    node = graph.running(name)
    if isinstance(node, Map):
        steps, batch = arriving.shape[:2]
        out = node.apply(arriving.reshape(steps * batch, *arriving.shape[2:]))
        return out.reshape(steps, batch, *out.shape[1:])
    if not isinstance(node, Stateful):
        raise GraphError(f"node {name!r} is at an end of the graph")
    return run_over_time(node, arriving, graph.dt)


def run_over_time(node: Stateful, arriving: Array, dt: float) -> Array:
    """Outputs [T, B, *shape] of one node for what arrives, [T, B, *shape]."""
    state = node.initial(arriving.shape[1])
    outputs = np.empty(arriving.shape)
    for t, x in enumerate(arriving):
        outputs[t], state = node.step(x, state, dt)
    return outputs


def scale_to_rate(
    graph: SpikingGraph, name: str, values: Mapping[str, Array], rate: float
) -> dict[str, Weighted]:
    """The nodes with weights before `name`, scaled so that it fires at about `rate`."""
    ways = {p: values[p] for p in graph.predecessors(name)}
    fixed = sum(
        (v for p, v in ways.items() if not weights_from(graph, p)), np.zeros(())
    )
    moving = sum((v for p, v in ways.items() if weights_from(graph, p)), np.zeros(()))
    node = graph.neuron(name)
    low, high = -12.0, 6.0  # log2 of the scale
    for _ in range(12):
        middle = (low + high) / 2
        output = run_over_time(node, fixed + moving * 2.0**middle, graph.dt)
        enough = output.mean() if node.spiking else np.abs(output).max() / 4
        low, high = (low, middle) if enough > rate else (middle, high)
    before = [n for p in ways for n in weights_from(graph, p)]
    weighted = ((n, graph.nodes[n]) for n in before)
    return {
        n: replace(node, weight=node.weight * 2.0**low, bias=node.bias * 2.0**low)
        for n, node in weighted
        if isinstance(node, Weighted)
    }


def round_to_grid(graph: SpikingGraph, name: str, node: Weighted) -> Weighted:
    """`node` with weights of 8 bits, or fewer if the sums of an image need room."""
    (source,) = graph.predecessors(name)
    while isinstance(graph.nodes[source], Flatten):
        (source,) = graph.predecessors(source)
    from_input = isinstance(graph.nodes[source], Input)
    graded = from_input and isinstance(graph.encoding, DirectEncoding)
    fan_in = math.prod(node.weight.shape[1:])
    room = 2**17 / (fan_in * 127 * 127 * longest_memory(graph, name)) if graded else 1.0
    bits = 8 + min(0, math.floor(math.log2(room)))
    step = 2.0 ** weight_exponent(float(np.abs(node.weight).max()), bits=bits)
    unit = step * (2.0**graph.encoding.exponent if graded and graph.encoding else 1.0)
    bias = np.clip(np.rint(node.bias / unit), -4095, 4095) * unit
    return replace(node, weight=np.rint(node.weight / step) * step, bias=bias)


def longest_memory(graph: SpikingGraph, name: str) -> float:
    """Largest ratio of current to input in the populations right after node `name`."""
    after = (graph.nodes[n] for n in graph.successors(name))
    cubas = (node for node in after if isinstance(node, CubaLIF))
    return max((float(node.tau_syn.max()) / graph.dt for node in cubas), default=1.0)


def refresh(graph: SpikingGraph, name: str, values: dict[str, Array]) -> None:
    """Recompute in `values` the maps between the last neurons and `name`."""
    for source in graph.predecessors(name):
        if isinstance(graph.nodes[source], Map):
            refresh(graph, source, values)
            values[source] = evaluate(graph, source, values)
