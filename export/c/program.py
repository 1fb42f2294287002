"""program_of(plan) -> Program: the layers, kernels and memory of a network in C.

Populations of pixels are stored in the order row, column, channel, so that the weights
of one spike to all channels follow each other. The input keeps the plan's order.

Sums are int16 where the bound of every partial sum allows it, else int32. They are
int64 where a current may wrap more than once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from export.c.links import Array, Link, channels_last, link_of
from stars.graph.nodes import Shape
from stars.grid.intervals import magnitude
from stars.grid.plan import ACCUMULATOR_BITS, STATE_SHIFT, IntegerPlan, Population

Kernels = Literal["auto", "event", "dense"]

SUMS = {"i16": "int16_t", "i32": "int32_t", "i64": "int64_t"}
BYTES = {"int8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}
BYTES |= {"int64_t": 8}


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
