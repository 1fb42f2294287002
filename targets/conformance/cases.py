"""The cases: a small NIR graph each, and the one rule that it checks.

Every time constant is dt times a power of two, and every weight is a multiple of 1/8.
No membrane is near its threshold but where that is the rule, so float32 and float64
agree. dt is 1e-4 s, because some readers have no other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from stars.graph.nodes import Array, Shape

DT = 1e-4  # seconds
STEPS = 12
SAMPLES = 2
DOCS = "neuroir.org/docs/primitives.html"


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        rule: what it checks, one sentence.
        source: where the format says so.
        graph: makes the NIR graph.
        small: parameters that the file stores broadcast, by (node, field): their shape.
        dropped: fields that the file does not hold, as (node, field).
        graded: whether its inputs are multiples of 1/4 instead of spikes.
        least: smallest input.
    """

    rule: str
    source: str
    graph: Callable[[], nir.NIRGraph]
    small: Mapping[tuple[str, str], Shape] | None = None
    dropped: tuple[tuple[str, str], ...] = ()
    graded: bool = True

    def inputs(self, name: str) -> Array:
        """Its inputs [T, B, *shape]; the same on every machine."""
        (entry,) = [n for n in self.graph().nodes.values() if isinstance(n, nir.Input)]
        shape = (STEPS, SAMPLES, *(int(n) for n in entry.input_type["input"]))
        rng = np.random.default_rng(list(name.encode()))
        if not self.graded:
            return (rng.random(shape) < 0.5).astype(np.float64)
        return rng.integers(0, 7, shape) / 4


def weights(*shape: int) -> Array:
    """Weights of an arithmetic pattern, multiples of 1/8 from -1/2 to 5/8."""
    return ((7 * np.arange(np.prod(shape)) + 6) % 10 - 4).reshape(shape) / 8


def full(shape: Shape, **values: float) -> dict[str, Array]:
    """Each value for a whole population."""
    return {name: np.full(shape, float(value)) for name, value in values.items()}


def lif(*shape: int, **changes: float) -> nir.LIF:
    """A population with dt / tau = 1/2 and r = 1; no membrane equals the threshold."""
    values = {"tau": 2 * DT, "r": 1, "v_leak": 0, "v_threshold": 0.4142, "v_reset": 0}
    return nir.LIF(**full(shape, **(values | changes)))


def integrate(*shape: int, **changes: float) -> nir.IF:
    """A population with dt r = 1: each step adds the input."""
    values = {"r": 1 / DT, "v_threshold": 0.9142, "v_reset": 0}
    return nir.IF(**full(shape, **(values | changes)))


def cuba(*shape: int, kind: Any = nir.CubaLIF, **changes: float) -> Any:
    """A population with dt / tau_syn = 1/2, dt / tau_mem = 1/4, and gains 1."""
    values: dict[str, float] = {"tau_syn": 2 * DT, "tau_mem": 4 * DT, "r": 4}
    values |= {"v_leak": 0, "w_in": 2}
    if kind is nir.CubaLIF:
        values |= {"v_threshold": 0.9142, "v_reset": 0}
    return kind(**full(shape, **(values | changes)))


def conv(out: int, channels: int, kernel: Shape, size: Shape, **changes: Any) -> Any:
    """A convolution, stride 1, without padding."""
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | changes
    weight = weights(out, channels // options["groups"], *kernel)
    bias, axes = np.arange(out) / 8, len(kernel)
    kind, shape = (nir.Conv1d, size[0]) if axes == 1 else (nir.Conv2d, size)
    return kind(input_shape=shape, weight=weight, bias=bias, **options)


def affine(out: int, size: int) -> nir.Affine:
    """Weights and biases."""
    return nir.Affine(weights(out, size), np.arange(out) / 8)


def linear(out: int, size: int) -> nir.Linear:
    """Weights alone: biases have cases of their own."""
    return nir.Linear(weights(out, size))


def linked(edges: str, shape: Shape, end: Shape, **nodes: Any) -> nir.NIRGraph:
    """A graph of named nodes; edges are written "input>a a>output"."""
    every = {"input": nir.Input(np.array(shape)), **nodes}
    every["output"] = nir.Output(np.array(end))
    pairs = [(a, b) for a, b in (edge.split(">") for edge in edges.split())]
    return nir.NIRGraph(every, pairs, type_check=False)


def chain(shape: Shape, end: Shape, **nodes: Any) -> nir.NIRGraph:
    """The nodes one after the other."""
    names = ["input", *nodes, "output"]
    edges = " ".join(f"{a}>{b}" for a, b in itertools.pairwise(names))
    return linked(edges, shape, end, **nodes)


def mapped(shape: Shape, after: Shape, node: Any) -> Callable[[], nir.NIRGraph]:
    """A map, and a LIF that shows what it gives."""
    return lambda: chain(shape, after, map=node, lif=lif(*after))


def neuron(size: int, make: Callable[[], Any]) -> Callable[[], nir.NIRGraph]:
    """One population on the input."""
    return lambda: chain((size,), (size,), neuron=make())


def residual(first: str) -> nir.NIRGraph:
    """A shortcut around a population; `first` is the edge that is listed first."""
    edges = ["input>fc1", "fc1>lif1", "lif1>fc2", "fc2>lif2", "lif2>fc3"]
    edges += ["fc3>lif3", "lif1>lif3", "lif3>output"]
    edges.sort(key=lambda edge: edge != first)
    return linked(
        " ".join(edges),
        (4,),
        (3,),
        fc1=linear(3, 4),
        lif1=lif(3),
        fc2=linear(3, 3),
        lif2=lif(3),
        fc3=linear(3, 3),
        lif3=lif(3),
    )


def recurrent(node: Any, weight: Any) -> nir.NIRGraph:
    """A population that feeds itself through weights."""
    edges = "input>fc fc>lif lif>rec rec>lif lif>output"
    return linked(edges, (4,), (3,), fc=linear(3, 4), lif=node, rec=weight)


def nested(depth: int) -> nir.NIRGraph:
    """A graph in a graph, `depth` times, behind weights."""
    inner = linked("input>lif lif>output", (3,), (3,), lif=lif(3))
    for _ in range(depth - 1):
        inner = linked("input>block block>output", (3,), (3,), block=inner)
    return chain((4,), (3,), fc=linear(3, 4), block=inner, out=lif(3))


IMAGE = (2, 6, 8)
CASES: Mapping[str, Case] = {
    "affine": Case("y = W x + b", DOCS, mapped((4,), (3,), affine(3, 4))),
    "linear": Case("y = W x", DOCS, mapped((4,), (3,), nir.Linear(weights(3, 4)))),
    "conv1d": Case(
        "a cross-correlation: the kernel is not flipped",
        DOCS,
        mapped((2, 8), (3, 6), conv(3, 2, (3,), (8,))),
    ),
    "conv2d": Case(
        "a cross-correlation: the kernel is not flipped",
        DOCS,
        mapped(IMAGE, (3, 4, 6), conv(3, 2, (3, 3), (6, 8))),
    ),
    "sum_pool": Case(
        "a sum over each window, not a mean",
        DOCS,
        mapped(
            IMAGE, (2, 3, 4), nir.SumPool2d(*[np.array([2, 2])] * 2, np.zeros(2, int))
        ),
    ),
    "avg_pool": Case(
        "a mean over each window",
        DOCS,
        mapped(
            IMAGE, (2, 3, 4), nir.AvgPool2d(*[np.array([2, 2])] * 2, np.zeros(2, int))
        ),
    ),
    "flatten": Case(
        "axes of one sample, the last one fastest: shapes have no batch axis",
        DOCS,
        lambda: chain(
            (2, 2, 3),
            (3,),
            flat=nir.Flatten({"input": np.array([2, 2, 3])}, 0, -1),
            fc=linear(3, 12),
            lif=lif(3),
        ),
    ),
    "scale": Case(
        "y = s x, elementwise", DOCS, mapped((4,), (4,), nir.Scale(np.arange(4) / 2))
    ),
    "delay": Case(
        "y(t) = x(t - tau), zero before; neurons may differ",
        DOCS,
        mapped((4,), (4,), nir.Delay(np.arange(4) * DT)),
    ),
    "threshold": Case(
        "z = 1 if x > threshold",
        DOCS,
        neuron(4, lambda: nir.Threshold(np.full(4, 0.7071))),
    ),
    "if": Case("v' = r x", DOCS, neuron(4, lambda: integrate(4))),
    "lif": Case("tau v' = (v_leak - v) + r x", DOCS, neuron(4, lambda: lif(4))),
    "cuba_lif": Case(
        "tau_syn I' = -I + w_in x; tau_mem v' = (v_leak - v) + r I",
        DOCS,
        neuron(4, lambda: cuba(4)),
    ),
    "i": Case(
        "v' = r x, without a threshold",
        DOCS,
        neuron(4, lambda: nir.I(np.full(4, 1 / DT))),
    ),
    "li": Case(
        "tau v' = (v_leak - v) + r x, without a threshold",
        DOCS,
        neuron(4, lambda: nir.LI(**full((4,), tau=2 * DT, r=2, v_leak=0))),
    ),
    "cuba_li": Case(
        "as CubaLIF, without a threshold",
        DOCS,
        neuron(4, lambda: cuba(4, kind=nir.CubaLI)),
    ),
    "if_r": Case(
        "r scales the input", DOCS, neuron(4, lambda: integrate(4, r=0.5 / DT))
    ),
    "lif_r": Case(
        "r scales the input; here r = tau / dt, so that it is added as it is",
        DOCS,
        neuron(4, lambda: lif(4, r=2, v_threshold=0.8284)),
    ),
    "lif_r_half": Case("r scales the input", DOCS, neuron(4, lambda: lif(4, r=0.5))),
    "cuba_w_in": Case(
        "w_in scales the input of the current", DOCS, neuron(4, lambda: cuba(4, w_in=1))
    ),
    "v_reset": Case(
        "a spike sets v to v_reset", DOCS, neuron(4, lambda: lif(4, v_reset=-0.25))
    ),
    "if_v_reset": Case(
        "a spike sets v to v_reset", DOCS, neuron(4, lambda: integrate(4, v_reset=-0.5))
    ),
    "v_leak": Case(
        "without input v goes to v_leak", DOCS, neuron(4, lambda: lif(4, v_leak=0.25))
    ),
    "at_threshold": Case(
        "v equal to the threshold is no spike",
        DOCS,
        neuron(4, lambda: integrate(4, v_threshold=0.75)),
    ),
    "above_threshold": Case(
        "v one part in 256 above is a spike",
        DOCS,
        neuron(4, lambda: integrate(4, v_threshold=0.75 - 2**-8)),
    ),
    "reset_not_subtract": Case(
        "a spike does not subtract the threshold: what is above it is lost",
        DOCS,
        neuron(4, lambda: integrate(4, v_threshold=0.5858)),
    ),
    "different_neurons": Case(
        "parameters differ from neuron to neuron",
        DOCS,
        neuron(
            3,
            lambda: nir.LIF(
                DT * 2.0 ** np.arange(1, 4),
                np.ones(3),
                np.zeros(3),
                np.array([0.4142, 0.3536, 0.2929]),
                np.zeros(3),
            ),
        ),
    ),
    "two_layers": Case(
        "within a step, values flow through all layers",
        "arXiv:2311.14641, figure 2",
        lambda: chain(
            (4,), (3,), fc1=linear(5, 4), lif1=lif(5), fc2=linear(3, 5), lif2=lif(3)
        ),
    ),
    "residual": Case(
        "several edges into a node add",
        "arXiv:2311.14641, section 2",
        lambda: residual("input>fc1"),
    ),
    "residual_order": Case(
        "the order of the edges in the file has no meaning",
        "arXiv:2311.14641, section 2",
        lambda: residual("lif1>lif3"),
    ),
    "fan_out": Case(
        "one node feeds several",
        "arXiv:2311.14641, section 2",
        lambda: linked(
            "input>fc1 input>fc2 fc1>lif fc2>lif lif>output",
            (4,),
            (3,),
            fc1=linear(3, 4),
            fc2=nir.Linear(weights(3, 4)[::-1].copy()),
            lif=lif(3),
        ),
    ),
    "recurrent": Case(
        "a cycle uses the spikes of the step before",
        "arXiv:2311.14641, section 2",
        lambda: recurrent(lif(3), nir.Linear(-weights(3, 3))),
    ),
    "recurrent_bias": Case(
        "a cycle through weights with a bias",
        "arXiv:2311.14641, section 2",
        lambda: recurrent(lif(3), affine(3, 3)),
    ),
    "recurrent_cuba": Case(
        "a cycle uses the spikes of the step before",
        "arXiv:2311.14641, section 2",
        lambda: recurrent(cuba(3), nir.Linear(-weights(3, 3))),
    ),
    "nested": Case("a node may be a graph", DOCS, lambda: nested(1)),
    "nested_twice": Case(
        "a node of a graph in a graph may be one", DOCS, lambda: nested(2)
    ),
    "conv_padding": Case(
        "zeros around the image, each axis its own",
        DOCS,
        mapped(IMAGE, (3, 6, 10), conv(3, 2, (3, 3), (6, 8), padding=(1, 2))),
    ),
    "conv_stride": Case(
        "each axis has its stride",
        DOCS,
        mapped(IMAGE, (3, 2, 6), conv(3, 2, (3, 3), (6, 8), stride=(2, 1))),
    ),
    "conv_dilation": Case(
        "gaps between the taps",
        DOCS,
        mapped(IMAGE, (3, 2, 4), conv(3, 2, (3, 3), (6, 8), dilation=(2, 2))),
    ),
    "conv_groups": Case(
        "independent groups of channels",
        DOCS,
        mapped(IMAGE, (4, 4, 6), conv(4, 2, (3, 3), (6, 8), groups=2)),
    ),
    "conv_rectangle": Case(
        "a kernel that is not square",
        DOCS,
        mapped(IMAGE, (3, 4, 4), conv(3, 2, (3, 5), (6, 8))),
    ),
    "conv_same": Case(
        "padding 'same' keeps the size",
        DOCS,
        mapped(IMAGE, (3, 6, 8), conv(3, 2, (3, 3), (6, 8), padding="same")),
    ),
    "pool_stride": Case(
        "windows that overlap",
        DOCS,
        mapped(
            IMAGE,
            (2, 4, 3),
            nir.AvgPool2d(np.array([3, 4]), np.array([1, 2]), np.zeros(2, int)),
        ),
    ),
    "conv_network": Case(
        "convolution, pool and weights in one network",
        "arXiv:2311.14641, section 3",
        lambda: chain(
            IMAGE,
            (3,),
            conv=conv(3, 2, (3, 3), (6, 8)),
            lif1=lif(3, 4, 6),
            pool=nir.SumPool2d(*[np.array([2, 2])] * 2, np.zeros(2, int)),
            flat=nir.Flatten({"input": np.array([3, 2, 3])}, 0, -1),
            fc=linear(3, 18),
            lif2=lif(3),
        ),
        graded=False,
    ),
    "scalar_parameters": Case(
        "one number stands for the whole population",
        "files of snnTorch and Norse; github.com/neuromorphs/NIR/issues/176",
        neuron(4, lambda: lif(4)),
        small={("neuron", n): () for n in ("tau", "r", "v_leak", "v_threshold")},
    ),
    "channel_parameters": Case(
        "[C, 1, 1] stands for each channel",
        "files of snnTorch and Norse; github.com/neuromorphs/NIR/issues/176",
        mapped(IMAGE, (3, 4, 6), conv(3, 2, (3, 3), (6, 8))),
        small={("lif", n): (3, 1, 1) for n in ("tau", "r", "v_leak", "v_threshold")},
    ),
    "conv_without_shape": Case(
        "a convolution does not need to state its input shape",
        "files of older versions of nir",
        mapped(IMAGE, (3, 4, 6), conv(3, 2, (3, 3), (6, 8))),
        dropped=(("map", "input_shape"),),
    ),
}
