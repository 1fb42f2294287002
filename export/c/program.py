"""program_of(plan) -> Program: the arrays, kernels and memory of a network in C.

Populations of pixels are stored in the order row, column, channel, so that the weights
of one spike to all channels follow each other. The input keeps the plan's order. A
matrix is a convolution of one pixel. A pool that the plan composed into a kernel or
matrix repeats its weights; they are stored once.

A connection has one of three kernels. "event" adds the weights of each value that is
not 0, "dense" multiplies all values, and "sparse" is an event kernel with an index for
each weight. Sums are int16 where the bound of every partial sum allows it, else int32.
They are int64 where a current may wrap more than once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.graph.nodes import Shape
from stars.grid.convolution import Convolution, Geometry
from stars.grid.intervals import magnitude
from stars.grid.plan import (
    ACCUMULATOR_BITS,
    STATE_SHIFT,
    Connection,
    IntegerPlan,
    Population,
)

Kernels = Literal["auto", "event", "dense"]
Array = NDArray[Any]

# Time for a multiplication in benchmarks/c_speed.py, relative to one of an event kernel
# in a vector of 16.
VECTOR = 16
SINGLE = 4  # outside vectors
DENSE = 2  # in a dense kernel
SUMS = {"i16": "int16_t", "i32": "int32_t", "i64": "int64_t"}
BYTES = {"int8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
BYTES |= {"int64_t": 8}


@dataclass(frozen=True, eq=False)
class Link:
    """One connection.

    Args:
        source: number of the layer it reads; -1 for the input.
        kernel: "event", "dense" or "sparse".
        arrays: by the end of its name, its type and values.
        numbers: fields of the C struct between the arrays and the axes.
        axes: fields of the two axes, vertical first; none if sparse.
    """

    source: int
    kernel: str
    arrays: Mapping[str, tuple[str, Array]]
    numbers: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Layer:
    """One population.

    Args:
        population: of the plan.
        links: what it reads.
        sums: key of `SUMS`: the type of its sums.
        scale: chip's membrane steps of one unit of the sums.
        bias: one period of the biases, in the chip's steps.
        slot: where its spikes start among those of all layers.
        held: whether the sums of a graded input are kept over the steps.
    """

    population: Population
    links: tuple[Link, ...]
    sums: str
    scale: int
    bias: Array
    slot: int
    held: bool

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.population.shape)

    @property
    def memory(self) -> bool:
        """Whether its current has a memory."""
        return self.population.current_decay_shift > 0

    @property
    def current(self) -> str:
        """C type of its current."""
        return "int64_t" if self.sums == "i64" else "int32_t"

    @property
    def scratch(self) -> bool:
        """Whether its sums are computed at every step."""
        return not self.held or any(link.source >= 0 for link in self.links)

    @property
    def flash(self) -> int:
        """Bytes of its constants."""
        arrays = [a for link in self.links for a in link.arrays.values()]
        links = sum(100 if link.axes else 24 for link in self.links)
        return links + 28 + 4 * len(self.bias) + sum(array_bytes(*a) for a in arrays)

    @property
    def ram(self) -> int:
        """Bytes of its state, without what layers share."""
        each = (
            4 + self.memory * BYTES[self.current] + self.held * BYTES[SUMS[self.sums]]
        )
        return self.size * each


@dataclass(frozen=True, eq=False)
class Program:
    """A network in C.

    Args:
        plan: the network.
        layers: in execution order.
        spikes: bytes for the spikes of all layers, which reuse each other's places.
    """

    plan: IntegerPlan
    layers: tuple[Layer, ...]
    spikes: int

    @property
    def sums(self) -> dict[str, int]:
        """Most neurons of a layer whose sums have each type and are not held."""
        sizes = {
            kind: max(
                (i.size for i in self.layers if i.sums == kind and i.scratch), default=0
            )
            for kind in SUMS
        }
        return {kind: size for kind, size in sizes.items() if size} or {"i16": 1}

    @property
    def state(self) -> list[tuple[str, str, int]]:
        """(C type, name, length) of each member of the state; the widest first."""
        members = [
            ("union", "sums", 1),
            ("int8_t", "spikes", self.spikes),
            ("int8_t", "input", len(self.plan.input_low)),
        ]
        for i, layer in enumerate(self.layers):
            members.append(("int32_t", f"membrane_{i}", layer.size))
            if layer.memory:
                members.append((layer.current, f"current_{i}", layer.size))
            if layer.held:
                members.append((SUMS[layer.sums], f"held_{i}", layer.size))
        return sorted(members, key=lambda member: -self.alignment(member[0]))

    def alignment(self, kind: str) -> int:
        """Bytes to a multiple of which a member of this C type is aligned."""
        widest = max(BYTES[SUMS[kind]] for kind in self.sums)
        return widest if kind == "union" else BYTES[kind]

    @property
    def ram(self) -> int:
        """Bytes of the state. Only its end and that of the union are padded."""
        union = max(size * BYTES[SUMS[kind]] for kind, size in self.sums.items())
        union = padded(union, self.alignment("union"))
        total = sum(
            union if kind == "union" else size * BYTES[kind]
            for kind, _, size in self.state
        )
        return padded(total, self.alignment(self.state[0][0]))


def padded(size: int, unit: int) -> int:
    """The smallest multiple of `unit` that is at least `size`."""
    return -(-size // unit) * unit


def array_bytes(kind: str, values: Array) -> int:
    """Bytes of a constant array."""
    return len(values) * BYTES[kind]


def channels_last(shape: Shape) -> Array:
    """Place in C order of each neuron in the order row, column, channel."""
    order = np.arange(math.prod(shape))
    if len(shape) != 3:
        return order
    return np.moveaxis(order.reshape(shape), 0, -1).ravel()


def program_of(
    plan: IntegerPlan, rates: Mapping[str, float], kernels: Kernels = "auto"
) -> Program:
    """The program of a plan.

    Args:
        plan: the network.
        rates: by name of a layer, or of the input, the fraction of values that are not
            0; 0 if missing.
        kernels: forces one kind where a connection has it.
    """
    numbers = {p.name: i for i, p in enumerate(plan.populations)}
    numbers[plan.input_name] = -1
    slots, spikes = spike_slots(plan, numbers)
    layers = []
    for population, slot in zip(plan.populations, slots, strict=True):
        connections = plan.into(population.name)
        low = min((c.shift for c in connections), default=0)
        sums = sums_of(plan, population, low)
        event = kernels == "event" or sums == "i64"
        links = tuple(
            link_of(
                c,
                numbers[c.source],
                shape_of(plan, c.source),
                population.shape,
                2 ** (c.shift - low),
                -1.0
                if event
                else 2.0
                if kernels == "dense"
                else rates.get(c.source, 0),
            )
            for c in connections
        )
        layers.append(
            Layer(
                population=population,
                links=links,
                sums=sums,
                scale=2 ** (low + STATE_SHIFT),
                bias=bias_of(population),
                slot=slot,
                held=plan.input_graded and any(link.source < 0 for link in links),
            )
        )
    return Program(plan, tuple(layers), spikes)


def shape_of(plan: IntegerPlan, source: str) -> Shape:
    """Shape of a population as it is stored; the input is flat unless it is read so."""
    shapes = {p.name: p.shape for p in plan.populations}
    return shapes.get(source, plan.input_shape)


def spike_slots(plan: IntegerPlan, numbers: Mapping[str, int]) -> tuple[list[int], int]:
    """(Start of each layer's spikes, bytes of all); they live until their last use."""
    last = {i: i for i in range(len(plan.populations))}
    for c in plan.connections:
        last[numbers[c.source]] = max(last.get(numbers[c.source], 0), numbers[c.target])
    slots: list[int] = []
    end = 0
    for i, population in enumerate(plan.populations):
        size = math.prod(population.shape)
        living = sorted(
            (slots[k], slots[k] + math.prod(plan.populations[k].shape))
            for k in range(i)
            if last[k] >= i
        )
        start = 0
        for begin, stop in living:
            if begin - start >= size:
                break
            start = max(start, stop)
        slots.append(start)
        end = max(end, start + size)
    return slots, end


def sums_of(plan: IntegerPlan, population: Population, low: int) -> str:
    """The narrowest type that holds every partial sum of a population's inputs.

    Args:
        plan: contains the population.
        population: to examine.
        low: its smallest shift; sums are in units of 2^low.
    """
    total = np.zeros(math.prod(population.shape), np.int64)
    intervals = plan.intervals()
    for c in plan.into(population.name):
        total += magnitude(c.weights, *intervals[c.source]) << c.shift
    largest = int(total.max(initial=0))
    if largest >= 2 ** (ACCUMULATOR_BITS + 1):
        return "i64"  # after wrapping once, the current may exceed its register
    return "i16" if largest >> low < 2**15 else "i32"


def bias_of(population: Population) -> Array:
    """One period of the biases, in the chip's steps and in the stored order."""
    bias = population.bias[channels_last(population.shape)] << STATE_SHIFT
    if len(population.shape) == 3:
        each = bias.reshape(-1, population.shape[0])
        if (each == each[0]).all():
            return np.asarray(each[0])
    return bias


def link_of(
    connection: Connection,
    number: int,
    source: Shape,
    target: Shape,
    scale: int,
    rate: float,
) -> Link:
    """A connection with the kernel that is best at this rate of its source."""
    found = connection.convolution
    if found is None:
        weights = in_stored_order(connection.weights, source, target, number)
        entries, size = weights.nnz, math.prod(weights.shape)
        pooled = pooled_matrix(connection.weights, source, target)
        if pooled is not None:
            found = pooled
        elif entries * 3 + 4 * weights.shape[1] < size:
            return sparse_link(weights, number, scale)
        else:
            rows, columns = weights.shape
            geometry = Geometry((columns, 1, 1), (rows, 1, 1), (1, 1))
            kernel = weights.toarray().reshape(rows, columns, 1, 1)
            return dense_or_event(
                Convolution(geometry, kernel), number, scale, rate, flat=True
            )
    return dense_or_event(found, number, scale, rate, flat=False)


def in_stored_order(
    weights: csr_array, source: Shape, target: Shape, number: int
) -> csr_array:
    """The matrix with rows, and columns unless they are the input's, as stored."""
    rows = weights[channels_last(target)]
    return csr_array(rows if number < 0 else rows[:, channels_last(source)])


def pooled_matrix(
    weights: csr_array, source: Shape, target: Shape
) -> Convolution | None:
    """A matrix on pixels that a pool repeats, as a convolution; else None."""
    if len(source) != 3 or math.prod(source[1:]) == 1 or len(target) != 1:
        return None
    kernel = weights.toarray().reshape(target[0], *source)
    if repeats(kernel, 2) * repeats(kernel, 3) == 1:
        return None
    geometry = Geometry(source, (target[0], 1, 1), source[1:3])
    return Convolution(geometry, kernel)


def repeats(kernel: Array, axis: int) -> int:
    """The largest n such that each n neighboring taps of an axis are equal."""
    size = kernel.shape[axis]
    for n in range(size, 1, -1):
        if size % n == 0:
            parts = np.take(kernel, range(0, size, n), axis)
            if (np.repeat(parts, n, axis) == kernel).all():
                return n
    return 1


def dense_or_event(
    found: Convolution, number: int, scale: int, rate: float, *, flat: bool
) -> Link:
    """A convolution with the kernel that is best at this rate.

    Args:
        found: the convolution.
        number: of the layer it reads.
        scale: factor of its weights.
        rate: of its source; infinity forces a dense kernel.
        flat: whether it is a matrix on a source of any shape.
    """
    geometry, kernel = found.geometry, found.kernel
    channels, height, width = geometry.source
    one_row = number < 0 and channels > 1 and not flat  # the input is in C order
    step = (width, 1, height * width) if one_row else (width * channels, channels, 1)
    repeat = repeats(kernel, 2), repeats(kernel, 3)
    fits = geometry.groups == 1 and geometry.dilation[1] == 1 and not one_row
    if fits and repeat == (1, 1):
        out, taps = geometry.target[0], geometry.kernel[1]
        event = out * (taps if geometry.stride[1] == 1 else 1)
        if rate * cost(event) > DENSE * cost(taps * channels):
            return dense_link(found, number, scale, step)
    return event_link(found, number, scale, step, repeat)


def cost(length: int) -> float:
    """Time for each value of a row of this length; 1 in vectors."""
    return 1 + (SINGLE - 1) * (length % VECTOR) / length


def dense_link(
    found: Convolution, number: int, scale: int, step: tuple[int, int, int]
) -> Link:
    """Weights [O, kh, kw, C]."""
    geometry = found.geometry
    channels, (out, *_) = geometry.source[0], geometry.target
    row = geometry.kernel[1] * channels
    weights = found.kernel.transpose(0, 2, 3, 1)
    return Link(
        number,
        "dense",
        {"weights": ("int8_t", weights.ravel())},
        (channels, channels, out, step[2], geometry.kernel[0] * row, scale, 0, 0),
        axes_of(geometry, (1, 1), step, (row, channels)),
    )


def event_link(
    found: Convolution,
    number: int,
    scale: int,
    step: tuple[int, int, int],
    repeat: tuple[int, int],
) -> Link:
    """Weights [C, kh, kw, O / groups]; kw is mirrored if its taps form one run."""
    geometry, kernel = found.geometry, found.kernel
    (down, right), channels = repeat, geometry.source[0]
    each, count = channels // geometry.groups, geometry.target[0] // geometry.groups
    merged = geometry.groups == geometry.stride[1] == geometry.dilation[1] == right == 1
    kernel = kernel[:, :, ::down, ::right]
    if merged:
        kernel = kernel[:, :, :, ::-1]
    # [groups, count, each, kh, kw] -> [groups, each, kh, kw, count]
    apart = kernel.reshape(geometry.groups, count, *kernel.shape[1:])
    weights = apart.transpose(0, 2, 3, 4, 1)
    row = kernel.shape[3] * count
    return Link(
        number,
        "event",
        {"weights": ("int8_t", weights.ravel())},
        (
            channels,
            each,
            count,
            step[2],
            kernel.shape[2] * row,
            scale,
            int(merged),
            int(geometry.groups > 1),
        ),
        axes_of(geometry, repeat, step, (row, count)),
    )


def axes_of(
    geometry: Geometry,
    repeat: tuple[int, int],
    step: tuple[int, ...],
    weights: tuple[int, int],
) -> tuple[tuple[int, ...], ...]:
    """The fields of both axes; see `struct axis` in the template."""
    out, _, wide = geometry.target
    return tuple(
        (
            geometry.source[1 + axis],
            geometry.target[1 + axis],
            geometry.kernel[axis],
            geometry.stride[axis],
            geometry.padding[axis],
            geometry.dilation[axis],
            repeat[axis],
            step[axis],
            (wide * out, out)[axis],
            weights[axis],
        )
        for axis in (0, 1)
    )


def sparse_link(weights: csr_array, number: int, scale: int) -> Link:
    """The entries of each source, with their targets."""
    columns = weights.tocsc()
    columns.sort_indices()
    index = "uint16_t" if weights.shape[0] <= 2**16 else "uint32_t"
    arrays = {
        "weights": ("int8_t", columns.data),
        "targets": (index, columns.indices),
        "starts": ("uint32_t", columns.indptr),
    }
    return Link(number, "sparse", arrays, (weights.shape[1], scale))
