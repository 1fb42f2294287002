"""Places neurons on cores, and counts what each core holds.

The placement is greedy and deterministic. A core holds neurons of one layer in the
order of their flat index; the next core begins with the first neuron that does not fit.
Layers are placed from the last to the first, because a neuron's output axons depend on
the cores that it feeds. Cores are numbered, and chips filled, in execution order.

Without shared weights (each synapse is stored) a core holds:

- an input axon for each source neuron or input value that reaches it,
- an output axon for each pair of one of its neurons and a core that this neuron feeds;
  the readout has none, because its membrane is read,
- for each input axon a list of synapses, in blocks of up to 64:

      bits(n) = sum over blocks of 64 ceil((n_block b + 10) / 64)
      b = 8 for the weight + index of the compartment + bits of the largest delay

Source: the blocks are those of nengo-loihi 1.0, `SynapseConfig.bits_per_axon` in
block.py; 8 bits hold a weight of mixed sign. The chip's formats can be denser.

With shared kernels, a core stores the kernel of each channel of its neurons once, as
Loihi's population connectivity allows (Davies et al. 2018; Rueckauer et al., NxTF,
arXiv:2101.04261). The axons that this saves depend on the layout and are not modeled,
so that the number of cores is a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.grid.exact import bits
from targets.hardware.limits import ChipLimits

WEIGHT_STORED = 8  # bits in a synapse's entry
BLOCK = 64  # synapses
BLOCK_HEADER = 10  # bits
WORD = 64  # bits

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Core:
    """One core.

    Args:
        node: name of the layer.
        first, neurons: flat index of its first neuron, and the number of neurons.
        input_axons, output_axons, synapse_bits: the resources it holds.
    """

    node: str
    first: int
    neurons: int
    input_axons: int
    output_axons: int
    synapse_bits: int

    @property
    def rows(self) -> slice:
        """Its neurons' flat indices."""
        return slice(self.first, self.first + self.neurons)


@dataclass(frozen=True, eq=False)
class Layer:
    """The connectivity of one population.

    Args:
        node: its name.
        size: number of neurons.
        synapses: by source, number of synapses of each pair of neurons, [N, N source].
        delay: largest, in steps.
    """

    node: str
    size: int
    synapses: Mapping[str, csr_array]
    delay: int = 0


@dataclass(frozen=True)
class Excess:
    """Neurons that exceed a limit of a core even alone.

    Args:
        limit: name of the limit in `targets.hardware.limits`.
        value: of the neuron that needs most.
        neurons: number of neurons that exceed it.
    """

    limit: str
    value: int
    neurons: int


@dataclass
class Load:
    """The contents of a core that is being filled.

    Args:
        counts: by source, the number of synapses of each input axon.
    """

    counts: Mapping[str, Counts]
    neurons: int = 0
    totals: dict[str, int] = field(default_factory=dict)


def axon_bits(count: int, delay: int, compartments: int) -> Counts:
    """Memory of input axons with 0 to `count` synapses, [count + 1], bits."""
    each = WEIGHT_STORED + bits(max(compartments - 1, 1)) + bits(delay)
    n = np.arange(count + 1)
    full, rest = n // BLOCK, n % BLOCK
    block = WORD * math.ceil((BLOCK * each + BLOCK_HEADER) / WORD)
    last = WORD * -(-(rest * each + BLOCK_HEADER) // WORD)
    return np.asarray(full * block + np.where(rest > 0, last, 0), dtype=np.int64)


def place_layers(
    layers: Sequence[Layer], limits: ChipLimits
) -> tuple[tuple[Core, ...], dict[str, tuple[Excess, ...]]]:
    """(cores in execution order, by node the neurons that fit no core)."""
    cores: dict[str, list[Core]] = {}
    excess: dict[str, tuple[Excess, ...]] = {}
    for layer in reversed(layers):
        fed = cores_fed(layer, layers, cores)
        cores[layer.node], excess[layer.node] = place_layer(layer, fed, limits)
    ordered = tuple(core for layer in layers for core in cores[layer.node])
    return ordered, excess


def cores_fed(
    layer: Layer, layers: Sequence[Layer], cores: Mapping[str, Sequence[Core]]
) -> Counts:
    """The number of cores that each neuron of `layer` feeds, [N]."""
    fed = np.zeros(layer.size, np.int64)
    for target in layers:
        if layer.node in target.synapses:
            matrix = target.synapses[layer.node]
            for core in cores[target.node]:
                start, stop = matrix.indptr[[core.rows.start, core.rows.stop]]
                fed[np.unique(matrix.indices[start:stop])] += 1
    return fed


def place_layer(
    layer: Layer, fed: Counts, limits: ChipLimits
) -> tuple[list[Core], tuple[Excess, ...]]:
    """(cores of one layer in order, neurons that fit no core)."""
    allowed = {
        "compartments_per_core": limits.value("compartments_per_core"),
        "input_axons_per_core": limits.value("input_axons_per_core"),
        "output_axons_per_core": limits.value("output_axons_per_core"),
        "synapse_bits_per_core": limits.value("synapse_bits_per_core"),
    }
    compartments = min(allowed["compartments_per_core"] or layer.size, layer.size)
    most = max((int(m.max()) for m in layer.synapses.values() if m.nnz), default=1)
    memory = axon_bits((compartments + 1) * most, layer.delay, compartments)
    cores: list[Core] = []
    excess: dict[str, list[int]] = {}
    load = empty(layer)
    for neuron in range(layer.size):
        totals = with_neuron(layer, load, neuron, int(fed[neuron]), memory)
        if load.neurons and beyond(totals, allowed):
            cores.append(core_of(layer, load, neuron))
            load = empty(layer)
            totals = with_neuron(layer, load, neuron, int(fed[neuron]), memory)
        for name in beyond(totals, allowed) if not load.neurons else ():
            excess.setdefault(name, []).append(totals[name])
        add(layer, load, neuron, totals)
    cores.append(core_of(layer, load, layer.size))
    found = (Excess(name, max(v), len(v)) for name, v in excess.items())
    return cores, tuple(found)


def empty(layer: Layer) -> Load:
    """A core without neurons."""
    return Load({s: np.zeros(m.shape[1], np.int64) for s, m in layer.synapses.items()})


def rows(layer: Layer, neuron: int) -> Iterator[tuple[str, Counts, Counts]]:
    """(source, its neurons that feed this one, synapses of each)."""
    for source, matrix in layer.synapses.items():
        start, stop = matrix.indptr[neuron], matrix.indptr[neuron + 1]
        yield source, matrix.indices[start:stop], matrix.data[start:stop]


def with_neuron(
    layer: Layer, load: Load, neuron: int, fed: int, memory: Counts
) -> dict[str, int]:
    """The contents of the core with one more neuron, by name of the limit."""
    axons = memory_bits = 0
    for source, columns, synapses in rows(layer, neuron):
        before = load.counts[source][columns]
        axons += int(np.count_nonzero(before == 0))
        memory_bits += int((memory[before + synapses] - memory[before]).sum())
    return {
        "compartments_per_core": load.neurons + 1,
        "input_axons_per_core": load.totals.get("input_axons_per_core", 0) + axons,
        "output_axons_per_core": load.totals.get("output_axons_per_core", 0) + fed,
        "synapse_bits_per_core": load.totals.get("synapse_bits_per_core", 0)
        + memory_bits,
    }


def add(layer: Layer, load: Load, neuron: int, totals: dict[str, int]) -> None:
    """Add a neuron to a core, whose contents are then `totals`."""
    for source, columns, synapses in rows(layer, neuron):
        load.counts[source][columns] += synapses
    load.neurons += 1
    load.totals = totals


def beyond(totals: Mapping[str, int], allowed: Mapping[str, int | None]) -> list[str]:
    """The limits that are exceeded; a limit of None never is."""
    return [
        name
        for name, limit in allowed.items()
        if limit is not None and totals[name] > limit
    ]


def core_of(layer: Layer, load: Load, stop: int) -> Core:
    """A filled core whose last neuron is `stop` - 1."""
    return Core(
        layer.node,
        stop - load.neurons,
        load.neurons,
        load.totals["input_axons_per_core"],
        load.totals["output_axons_per_core"],
        load.totals["synapse_bits_per_core"],
    )


def cores_with_shared_kernels(
    size: int, channels: int, kernel: int, delay: int, limits: ChipLimits
) -> int:
    """Least number of cores if a core stores each of its channels' kernels once.

    Args:
        size: number of neurons of the layer, channel by channel.
        channels: number of channels.
        kernel: synapses of one neuron, those on padding included.
        delay: largest, steps.
        limits: of the chip; axons are not counted.
    """
    compartments = min(limits.value("compartments_per_core") or size, size)
    memory = limits.value("synapse_bits_per_core")
    each = int(axon_bits(kernel, delay, compartments)[kernel])
    held = channels if memory is None or not each else max(memory // each, 1)
    per_channel, cores, start = size // channels, 0, 0
    while start < size:
        first = start // per_channel
        start = min(start + compartments, (first + held) * per_channel, size)
        cores += 1
    return cores
