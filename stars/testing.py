"""Random graphs, random inputs and assertions on traces: public, as numpy.testing is.

graph = random_graph(np.random.default_rng(0), kind="residual")
inputs = random_inputs(rng, graph, batch=8)
assert_same_spikes(my_target.run(graph, inputs), reference.run(graph, inputs))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stars.encode import DirectEncoding
from stars.errors import ConfigError
from stars.graph import SpikingGraph
from stars.grid import weight_exponent, weights_from
from stars.nodes import (
    LIF,
    Affine,
    Array,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Map,
    Neuron,
    Node,
    Output,
    Shape,
    SumPool2d,
)
from stars.trace import Trace

RNG = np.random.Generator
CALIBRATION_BATCH = 16
ENCODING = DirectEncoding(mean=(0.45,), deviation=(0.3,), exponent=-5)


@dataclass
class Draft:
    """A graph in the making: shapes follow along, weights are drawn, not yet scaled."""

    rng: RNG
    on_grid: bool
    decay_shift: int
    bias: bool
    dt: float
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, name: str, node: Node, *sources: str) -> str:
        """Add `node`, fed by `sources`; returns its name."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        shape = self.shapes[sources[0]] if sources else ()
        self.shapes[name] = node.output_shape(shape)
        return name

    def conv(
        self, name: str, source: str, out: int, kernel: int = 3, *, stride: int = 1
    ) -> str:
        """A convolution of `out` channels, padded so that stride 1 keeps the size."""
        channels = self.shapes[source][0]
        weight = self.rng.standard_normal((out, channels, kernel, kernel))
        padding = (kernel // 2, kernel // 2)
        node = Conv2d(weight, self._bias(out), (stride, stride), padding)
        return self.add(name, node, source)

    def affine(self, name: str, source: str, out: int) -> str:
        """A dense matrix to `out` values."""
        weight = self.rng.standard_normal((out, *self.shapes[source]))
        return self.add(name, Affine(weight, self._bias(out)), source)

    def pool(self, name: str, source: str, size: int) -> str:
        """A pool of whole windows: of sums on the grid, of means off it."""
        kind = SumPool2d if self.on_grid else AvgPool2d
        return self.add(name, kind((size, size), (size, size)), source)

    def lif(self, name: str, *sources: str) -> str:
        """A spiking population, whose currents add."""
        shape = self.shapes[sources[0]]
        if self.on_grid:
            return self.add(
                name, LIF.uniform(shape, tau=self.dt * 2**self.decay_shift), *sources
            )
        draw = self.rng.uniform
        node = LIF(
            tau=self.dt / draw(0.3, 0.9, shape),
            r=draw(0.8, 1.2, shape),
            v_leak=draw(-0.1, 0.1, shape),
            v_threshold=draw(0.9, 1.1, shape),
            v_reset=draw(-0.1, 0.1, shape),
        )
        return self.add(name, node, *sources)

    def readout(self, source: str, classes: int = 4) -> None:
        """A dense matrix and an integrator, then the output."""
        if len(self.shapes[source]) > 1:
            source = self.add("flatten", Flatten(), source)
        source = self.affine("dense", source, classes)
        node = Integrator(np.full(self.shapes[source], 1 / self.dt))
        self.add("output", Output(), self.add("readout", node, source))

    def _bias(self, size: int) -> Array:
        return self.rng.standard_normal(size) * (0.3 if self.bias else 0.0)


def draft_mlp(draft: Draft) -> None:
    """Spikes in, two dense populations."""
    rng = draft.rng
    name = draft.add("input", Input((int(rng.integers(3, 13)),)))
    for i in range(2):
        name = draft.affine(f"fc{i}", name, int(rng.integers(3, 13)))
        name = draft.lif(f"lif{i}", name)
    draft.readout(name)


def draft_flat(draft: Draft) -> None:
    """An image, flattened into a dense population."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.add("flat", Flatten(), name)
    name = draft.lif("lif0", draft.affine("fc0", name, 12))
    draft.readout(name)


def draft_conv(draft: Draft) -> None:
    """Two convolutions, the second with a stride."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.lif("lif0", draft.conv("conv0", name, 3))
    name = draft.lif("lif1", draft.conv("conv1", name, 4, stride=2))
    draft.readout(name)


def draft_vgg(draft: Draft) -> None:
    """Sequential: twice convolution, population, pool; then dense."""
    name = draft.add("input", image_input(draft.rng))
    for i in range(2):
        name = draft.lif(f"lif{i}", draft.conv(f"conv{i}", name, 3 + i))
        name = draft.pool(f"pool{i}", name, 2)
    name = draft.add("flat", Flatten(), name)
    name = draft.lif("lif2", draft.affine("fc2", name, 8))
    draft.readout(name)


def draft_residual(draft: Draft) -> None:
    """Identity shortcuts: spikes of one population also feed the one after the next."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.lif("lif0", draft.conv("conv0", name, 3))
    for i in range(2):
        main = draft.lif(f"block{i}_lif0", draft.conv(f"block{i}_conv0", name, 3))
        main = draft.conv(f"block{i}_conv1", main, 3)
        name = draft.lif(f"block{i}_lif1", main, name)
    draft.readout(draft.pool("pool", name, draft.shapes[name][1]))


def draft_shortcut(draft: Draft) -> None:
    """Shortcuts with weights: two maps of different grids meet in one population."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.lif("lif0", draft.conv("conv0", name, 2))
    for i, kernel in enumerate((1, 2)):
        main = draft.conv(f"block{i}_conv0", name, 4, stride=2)
        main = draft.lif(f"block{i}_lif0", main)
        main = draft.conv(f"block{i}_conv1", main, 4)
        short = name
        if kernel == 2:
            short = draft.pool(f"block{i}_pool", name, 2)
        short = draft.conv(f"block{i}_short", short, 4, 1, stride=3 - kernel)
        name = draft.lif(f"block{i}_lif1", main, short)
    draft.readout(draft.pool("pool", name, draft.shapes[name][1]))


KINDS: Mapping[str, Callable[[Draft], None]] = {
    "mlp": draft_mlp,
    "flat": draft_flat,
    "conv": draft_conv,
    "vgg": draft_vgg,
    "residual": draft_residual,
    "shortcut": draft_shortcut,
}


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
    """A small feed-forward graph whose populations fire at 5 to 50 %, most of the time.

    Args:
        rng: the one source of chance.
        kind: a key of `KINDS`; None draws one. "vgg" is sequential, "residual" and
            "shortcut" have branches that meet in one population.
        on_grid: integers times powers of two throughout, k = 2^-decay_shift, sum
            pools; else free real values, differing from neuron to neuron, mean pools.
        decay_shift: j in k = dt / tau = 2^-j, on the grid.
        bias: False sets every bias to 0.
        steps: T.
        dt: seconds.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind is None:
        kind = str(rng.choice(list(KINDS)))
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; there are {', '.join(KINDS)}")
    draft = Draft(rng, on_grid, decay_shift, bias, dt)
    KINDS[kind](draft)
    image = len(draft.shapes["input"]) == 3
    graph = SpikingGraph(
        draft.nodes, tuple(draft.edges), dt, steps, ENCODING if image else None
    )
    return calibrate(rng, graph, on_grid=on_grid)


def image_input(rng: RNG) -> Input:
    """An input of one channel, 8 by 8 or 8 by 12 pixels."""
    return Input((1, 8, 8 + 4 * int(rng.integers(2))))


def random_images(rng: RNG, count: int, shape: Shape) -> NDArray[np.uint8]:
    """Images [count, *shape] of 8-bit noise, every level equally likely."""
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
    """`graph` with each population's incoming weights scaled to a healthy rate.

    Populations are treated in order; what feeds one is scaled until it fires at a
    rate drawn from 12 to 35 %, then rounded to the grid if `on_grid`.
    """
    inputs = random_inputs(rng, graph, CALIBRATION_BATCH)
    values: dict[str, Array] = {graph.input: inputs}
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
    node = graph.nodes[name]
    if isinstance(node, Map):
        steps, batch = arriving.shape[:2]
        out = node.apply(arriving.reshape(steps * batch, *arriving.shape[2:]))
        return out.reshape(steps, batch, *out.shape[1:])
    return run_neuron(graph.neuron(name), arriving, graph.dt)


def run_neuron(node: Neuron, current: Array, dt: float) -> Array:
    """Outputs [T, B, *shape] of one population for its current [T, B, *shape]."""
    v = node.initial(current.shape[1])
    outputs = np.empty(current.shape)
    for t, arriving in enumerate(current):
        outputs[t], v = node.step(arriving, v, dt)
    return outputs


def scale_to_rate(
    graph: SpikingGraph, name: str, values: Mapping[str, Array], rate: float
) -> dict[str, Conv2d | Affine]:
    """The weight nodes before `name`, scaled so that it fires at about `rate`."""
    ways = {p: values[p] for p in graph.predecessors(name)}
    fixed = sum(
        (v for p, v in ways.items() if not weights_from(graph, p)), np.zeros(())
    )
    moving = sum((v for p, v in ways.items() if weights_from(graph, p)), np.zeros(()))
    node = graph.neuron(name)
    low, high = -12.0, 6.0  # log2 of the scale
    for _ in range(12):
        middle = (low + high) / 2
        output = run_neuron(node, fixed + moving * 2.0**middle, graph.dt)
        enough = output.mean() if node.spiking else np.abs(output).max() / 4
        low, high = (low, middle) if enough > rate else (middle, high)
    before = [n for p in ways for n in weights_from(graph, p)]
    weighted = ((n, graph.nodes[n]) for n in before)
    return {
        n: replace(node, weight=node.weight * 2.0**low, bias=node.bias * 2.0**low)
        for n, node in weighted
        if isinstance(node, Conv2d | Affine)
    }


def round_to_grid(
    graph: SpikingGraph, name: str, node: Conv2d | Affine
) -> Conv2d | Affine:
    """`node` with weights of at most 8 bits, fewer where an image's sums need room."""
    (source,) = graph.predecessors(name)
    while isinstance(graph.nodes[source], Flatten):
        (source,) = graph.predecessors(source)
    graded = isinstance(graph.nodes[source], Input) and graph.encoding is not None
    fan_in = math.prod(node.weight.shape[1:])
    room = 2**17 / (fan_in * 127 * 127) if graded else 1.0
    bits = 8 + min(0, math.floor(math.log2(room)))
    step = 2.0 ** weight_exponent(float(np.abs(node.weight).max()), bits=bits)
    unit = step * (2.0**graph.encoding.exponent if graded and graph.encoding else 1.0)
    bias = np.clip(np.rint(node.bias / unit), -4095, 4095) * unit
    return replace(node, weight=np.rint(node.weight / step) * step, bias=bias)


def refresh(graph: SpikingGraph, name: str, values: dict[str, Array]) -> None:
    """Evaluate again, in place, the maps between the last neurons and `name`."""
    for source in graph.predecessors(name):
        if isinstance(graph.nodes[source], Map):
            refresh(graph, source, values)
            values[source] = evaluate(graph, source, values)


def assert_same_spikes(actual: Trace, desired: Trace) -> None:
    """Raise AssertionError unless every node's spikes are equal.

    The message names the first divergence: the earliest step, in it the earliest node
    of `desired`, in it the first sample and neuron.
    """
    assert_same_records("spikes", actual.spikes, desired.spikes)


def assert_same_membranes(actual: Trace, desired: Trace) -> None:
    """Raise AssertionError unless every recorded membrane is equal bit for bit."""
    assert_same_records("membranes", actual.membranes, desired.membranes)


def assert_same_records(
    what: str,
    actual: Mapping[str, NDArray[np.generic]],
    desired: Mapping[str, NDArray[np.generic]],
) -> None:
    """Raise AssertionError at the first difference of two records by node."""
    if set(actual) != set(desired):
        raise AssertionError(
            f"{what}: nodes {sorted(actual)}, expected {sorted(desired)}"
        )
    first: tuple[int, str, tuple[int, ...]] | None = None
    for name, right in desired.items():
        left = actual[name]
        if left.shape != right.shape:
            raise AssertionError(
                f"{what} of node {name!r} have shape {left.shape},"
                f" expected {right.shape}"
            )
        places = np.argwhere(left != right)
        if len(places) and (first is None or places[0][0] < first[0]):
            where = tuple(int(i) for i in places[0])
            first = (where[0], name, where)
    if first is not None:
        step, name, where = first
        count = np.count_nonzero(actual[name] != desired[name])
        raise AssertionError(
            f"{what} diverge first at node {name!r}, step {step}, sample {where[1]},"
            f" neuron {where[2:]}: {actual[name][where]}, expected"
            f" {desired[name][where]} ({count} of {desired[name].size} in this node)"
        )
