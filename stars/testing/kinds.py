"""The kinds of small graphs that `stars.testing.random_graph` draws.

This module makes nodes, edges and random weights. The weights are scaled later, in
`stars.testing.random_graphs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Affine,
    Array,
    AvgPool2d,
    Conv1d,
    Conv2d,
    CubaLI,
    CubaLIF,
    Delay,
    Flatten,
    Input,
    Integrator,
    Node,
    Output,
    Scale,
    Shape,
    SumPool2d,
    Threshold,
    Weighted,
)

RNG = np.random.Generator


@dataclass
class RandomGraph:
    """A graph under construction: shapes are tracked, weights are not yet scaled."""

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
        """Add a convolution to `out` channels, padded to keep the size at stride 1."""
        channels = self.shapes[source][0]
        weight = self.rng.standard_normal((out, channels, kernel, kernel))
        padding = (kernel // 2, kernel // 2)
        node = Conv2d(weight, self._bias(out), (stride, stride), padding)
        return self.add(name, node, source)

    def affine(self, name: str, source: str, out: int) -> str:
        """Add a dense matrix to `out` values."""
        weight = self.rng.standard_normal((out, *self.shapes[source]))
        return self.add(name, Affine(weight, self._bias(out)), source)

    def conv1d(self, name: str, source: str, out: int, *, dilation: int = 1) -> str:
        """Add a convolution to `out` channels over three samples; length is kept."""
        weight = self.rng.standard_normal((out, self.shapes[source][0], 3))
        node = Conv1d(weight, self._bias(out), 1, dilation, dilation)
        return self.add(name, node, source)

    def pool(self, name: str, source: str, size: int) -> str:
        """Add a pool of whole windows: sums on the grid, means off it."""
        kind = SumPool2d if self.on_grid else AvgPool2d
        return self.add(name, kind((size, size), (size, size)), source)

    def lif(self, name: str, *sources: str) -> str:
        """Add a LIF population; its input currents add."""
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

    def integrate(self, name: str, *sources: str) -> str:
        """Add an IF population, without leak; its input currents add."""
        shape = self.shapes[sources[0]]
        r, v_threshold = np.ones(shape), np.ones(shape)
        if not self.on_grid:
            r, v_threshold = self.rng.uniform(0.8, 1.2, (2, *shape))
        node = IF(r / self.dt, v_threshold, np.zeros(shape))
        return self.add(name, node, *sources)

    def cuba(self, name: str, *sources: str) -> str:
        """Add a CubaLIF population, with a synaptic current; its inputs need bias 0.

        On the grid the current decays by 2^-i per step, i from 1 to the membrane's j.
        """
        shape = self.shapes[sources[0]]
        i, j = 1, self.decay_shift if self.on_grid else 1
        if self.on_grid:
            i = int(self.rng.integers(1, j + 1))
        values = {
            "tau_syn": self.dt * 2**i,
            "tau_mem": self.dt * 2**j,
            "r": 1.0,
            "v_leak": 0.0,
            "w_in": 2.0**i,
            "v_threshold": 1.0,
            "v_reset": 0.0,
        }
        fields = {name: np.full(shape, value) for name, value in values.items()}
        if not self.on_grid:
            draw = self.rng.uniform
            fields = {n: field * draw(0.8, 1.2, shape) for n, field in fields.items()}
        return self.add(name, CubaLIF(**fields), *sources)  # type: ignore[arg-type]

    def without_bias(self, *names: str) -> None:
        """Set the biases of the named nodes to 0."""
        for name in names:
            node = self.nodes[name]
            if isinstance(node, Weighted):
                self.nodes[name] = replace(node, bias=np.zeros_like(node.bias))

    def scale(self, name: str, source: str) -> str:
        """Add a factor for each value; on the grid it is a power of two."""
        factors = self.rng.uniform(0.5, 2, self.shapes[source])
        if self.on_grid:
            factors = np.exp2(np.rint(np.log2(factors)))
        return self.add(name, Scale(factors), source)

    def delay(self, name: str, source: str, least: int) -> str:
        """Add a random delay for each value, `least` to `least` + 2 steps."""
        steps = self.rng.integers(least, least + 3, self.shapes[source])
        return self.add(name, Delay(steps), source)

    def back(self, source: str, target: str) -> None:
        """Add an edge that closes a cycle."""
        self.edges.append((source, target))

    def readout(self, source: str, classes: int = 4) -> None:
        """Add a dense matrix, an integrator and the output."""
        if len(self.shapes[source]) > 1:
            source = self.add("flatten", Flatten(), source)
        source = self.affine("dense", source, classes)
        node = Integrator(np.full(self.shapes[source], 1 / self.dt))
        self.add("output", Output(), self.add("readout", node, source))

    def _bias(self, size: int) -> Array:
        return self.rng.standard_normal(size) * (0.3 if self.bias else 0.0)


def image_input(rng: RNG) -> Input:
    """An input of one channel, 8 x 8 or 8 x 12 pixels."""
    return Input((1, 8, 8 + 4 * int(rng.integers(2))))


def draft_mlp(draft: RandomGraph) -> None:
    """Two dense populations on a spiking input."""
    rng = draft.rng
    name = draft.add("input", Input((int(rng.integers(3, 13)),)))
    for i in range(2):
        name = draft.affine(f"fc{i}", name, int(rng.integers(3, 13)))
        name = draft.lif(f"lif{i}", name)
    draft.readout(name)


def draft_flat(draft: RandomGraph) -> None:
    """An image, flattened, and a dense population."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.add("flat", Flatten(), name)
    name = draft.lif("lif0", draft.affine("fc0", name, 12))
    draft.readout(name)


def draft_conv(draft: RandomGraph) -> None:
    """Two convolutions, the second with a stride."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.lif("lif0", draft.conv("conv0", name, 3))
    name = draft.lif("lif1", draft.conv("conv1", name, 4, stride=2))
    draft.readout(name)


def draft_vgg(draft: RandomGraph) -> None:
    """A sequence: convolution, population and pool, twice; then a dense population."""
    name = draft.add("input", image_input(draft.rng))
    for i in range(2):
        name = draft.lif(f"lif{i}", draft.conv(f"conv{i}", name, 3 + i))
        name = draft.pool(f"pool{i}", name, 2)
    name = draft.add("flat", Flatten(), name)
    name = draft.lif("lif2", draft.affine("fc2", name, 8))
    draft.readout(name)


def draft_residual(draft: RandomGraph) -> None:
    """Identity shortcuts: spikes also feed the population after the next one."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.lif("lif0", draft.conv("conv0", name, 3))
    for i in range(2):
        main = draft.lif(f"block{i}_lif0", draft.conv(f"block{i}_conv0", name, 3))
        main = draft.conv(f"block{i}_conv1", main, 3)
        name = draft.lif(f"block{i}_lif1", main, name)
    draft.readout(draft.pool("pool", name, draft.shapes[name][1]))


def draft_shortcut(draft: RandomGraph) -> None:
    """Shortcuts with weights: maps of different grids meet in one population."""
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


def draft_conv1d(draft: RandomGraph) -> None:
    """Two 1-D convolutions on three channels of spikes."""
    name = draft.add("input", Input((3, int(draft.rng.integers(8, 13)))))
    name = draft.lif("lif0", draft.conv1d("conv0", name, 4))
    name = draft.lif("lif1", draft.conv1d("conv1", name, 3, dilation=2))
    draft.readout(name)


def draft_cuba(draft: RandomGraph) -> None:
    """CubaLIF after an image, a shortcut and a pool, with a LIF between them."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.cuba("cuba0", draft.conv("conv0", name, 3))
    main = draft.lif("lif0", draft.conv("conv1", name, 3))
    name = draft.cuba("cuba1", draft.conv("conv2", main, 3), name)
    name = draft.add("flat", Flatten(), draft.pool("pool", name, 2))
    name = draft.cuba("cuba2", draft.affine("fc", name, 8))
    draft.without_bias("conv0", "conv2", "fc")
    draft.readout(name)


def draft_integrate(draft: RandomGraph) -> None:
    """IF populations with a LIF between them."""
    name = draft.add("input", image_input(draft.rng))
    name = draft.integrate("if0", draft.conv("conv0", name, 3))
    main = draft.lif("lif0", draft.conv("conv1", name, 3))
    name = draft.integrate("if1", draft.conv("conv2", main, 3))
    name = draft.add("flat", Flatten(), draft.pool("pool", name, 2))
    draft.readout(draft.integrate("if2", draft.affine("fc", name, 8)))


def draft_recurrent(draft: RandomGraph) -> None:
    """Cycles: a self-connection, one to an earlier population, one with a delay."""
    name = draft.affine("fc0", draft.add("input", Input((6,))), 8)
    first = draft.lif("lif0", name)
    draft.back(draft.affine("rec0", first, 8), first)
    second = draft.cuba("lif1", draft.affine("fc1", first, 6))
    draft.back(draft.affine("rec1", second, 8), first)
    draft.back(draft.affine("rec2", draft.delay("wait", second, 1), 6), second)
    draft.readout(second)


def draft_neurons(draft: RandomGraph) -> None:
    """One population of each neuron type but LIF, with factors and delays."""
    one, tau = np.ones(7), np.full(7, 2 * draft.dt)
    name = draft.affine("fc0", draft.add("input", Input((6,))), 7)
    name = draft.add("if", IF(one / draft.dt, one, 0 * one), name)
    name = draft.affine("fc1", draft.delay("delay0", name, 0), 7)
    name = draft.add("li", LI(tau, one, 0 * one), draft.scale("scale", name))
    name = draft.add("threshold", Threshold(one / 8), name)
    name = draft.cuba("cuba", draft.affine("fc2", name, 7))
    name = draft.affine("fc3", draft.delay("delay1", name, 1), 7)
    name = draft.add("end", CubaLI(tau, tau, one, 0 * one, one), name)
    draft.add("output", Output(), name)


KINDS: Mapping[str, Callable[[RandomGraph], None]] = {
    "mlp": draft_mlp,
    "flat": draft_flat,
    "conv": draft_conv,
    "conv1d": draft_conv1d,
    "vgg": draft_vgg,
    "residual": draft_residual,
    "shortcut": draft_shortcut,
    "cuba": draft_cuba,
    "integrate": draft_integrate,
}
# Kinds without an integer plan; NIR, ONNX and non-integer targets support them.
FREE_KINDS: Mapping[str, Callable[[RandomGraph], None]] = {
    "recurrent": draft_recurrent,
    "neurons": draft_neurons,
}
ALL_KINDS: Mapping[str, Callable[[RandomGraph], None]] = {**KINDS, **FREE_KINDS}
