"""SpikingGraph -> netx HDF5, the file that Lava's own deep-learning loader reads.

The format holds a sequence of dense and convolutional layers in integers, with one
weight exponent that the loader derives. It has neither pools nor sums of branches. A
pool before a convolution is folded into one strided convolution, and all maps before a
dense layer into one matrix. A graph that cannot be expressed exactly raises.

    /layer/<i>/type     S10 (1,): "input", "conv", "flatten" or "dense"
    /layer/<i>/shape    output shape, (C, H, W) or (N,)
    /layer/<i>/weight   conv: (out, in, kh, kw); dense: (out, in); in units
    /layer/<i>/bias     units: (C,) if equal in each channel, else (W, H, C); or (N,)
    /layer/<i>/stride, padding, dilation, kernelSize   (vertical, horizontal)
    /layer/<i>/groups, inChannels, outChannels, inFeatures, outFeatures
    /layer/<i>/neuron/type     S10 (1,): "CUBA"
    /layer/<i>/neuron/iDecay   4096 dt / tau_syn; 4096: no synaptic memory
    /layer/<i>/neuron/vDecay   4096 k
    /layer/<i>/neuron/vThMant  units
    /layer/<i>/neuron/refDelay, gradedSpike

Source: lava-dl 0.6.0, `lava/lib/dl/netx/hdf5.py`, the only reader.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.sparse import csr_array

from stars.errors import GraphError, UnsupportedNodeError
from stars.files.writing import atomic
from stars.graph.nodes import Conv2d, Neuron, Node, Shape, SumPool2d
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.exact import Integers, largest, trailing_zeros
from stars.grid.lowering import lower
from stars.grid.plan import (
    BIAS_LIMIT,
    STATE_SHIFT,
    THRESHOLD_BITS,
    WEIGHT_LIMIT,
    Connection,
    IntegerPlan,
    Population,
)
from stars.grid.unrolling import unroll

NETX_WEIGHT_LIMIT = 2 * WEIGHT_LIMIT  # even if signs mix; the loader clips more
DECAY_UNITY = 4096
NEVER = 2**THRESHOLD_BITS - 1  # threshold of a readout

Fields = dict[str, Any]


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One layer of the file: a population and its weights.

    Args:
        kind: "conv" or "dense".
        population: its neurons.
        fields: the layer's own data sets by name, integers.
    """

    kind: str
    population: Population
    fields: Fields


def write(graph: SpikingGraph, path: Path) -> IntegerPlan:
    """Write `graph` as netx HDF5, atomically; returns the plan that it holds.

    The plan is `lower(graph)` in units that need no left shift. The membranes of a run
    of the file are in these units.

    Raises:
        GraphError, LimitError: as `stars.grid.lower`.
        UnsupportedNodeError: the format cannot express the graph; holds every reason.
        DataError: the file cannot be written.
    """
    plan = plan_without_shifts(lower(graph), fixed=truncating(graph))
    layers = layers_of(graph, plan)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        group = file.create_group("layer")
        put(group, 0, "input", {"shape": np.array(plan.input_shape)})
        flat = len(plan.input_shape) == 1
        index = 1
        for layer in layers:
            if layer.kind == "dense" and not flat:
                size = layer.fields["weight"].shape[1]
                put(group, index, "flatten", {"shape": np.array([size])})
                flat, index = True, index + 1
            fields = {**layer.fields, "shape": np.array(layer.population.shape)}
            put(group, index, layer.kind, fields, neuron_fields(layer.population))
            index += 1
    return plan


def put(
    group: h5py.Group,
    index: int,
    kind: str,
    fields: Fields,
    neuron: Fields | None = None,
) -> None:
    """Add one layer to the file."""
    layer = group.create_group(str(index))
    layer.create_dataset("type", (1,), "S10", [kind.encode()])
    for name, value in fields.items():
        layer.create_dataset(name, data=value)
    if neuron is not None:
        neurons = layer.create_group("neuron")
        neurons.create_dataset("type", (1,), "S10", [b"CUBA"])
        for name, value in neuron.items():
            neurons.create_dataset(name, data=value)


def neuron_fields(population: Population) -> Fields:
    """The neurons' data sets, in the chip's registers."""
    shift = population.decay_shift
    return {
        "iDecay": DECAY_UNITY >> population.current_decay_shift,
        "vDecay": 0 if shift is None else DECAY_UNITY >> shift,
        "vThMant": NEVER if population.threshold is None else population.threshold,
        "refDelay": 1,
        "gradedSpike": False,
    }


def truncating(graph: SpikingGraph) -> set[str]:
    """Names of the nodes that fix the chip's membrane step: their decays truncate."""
    neurons = {n: v for n, v in graph.nodes.items() if isinstance(v, Neuron)}
    return {name for name, node in neurons.items() if node.decay == "truncate"}


def plan_without_shifts(plan: IntegerPlan, *, fixed: Set[str]) -> IntegerPlan:
    """`plan` with each population's unit as coarse as its left shift allows.

    Args:
        plan: sequential.
        fixed: names of populations that keep their unit.

    Raises:
        UnsupportedNodeError: a population has other inputs than the population before,
            or its numbers do not fit the format.
    """
    check_sequential(plan)
    populations, connections, reasons = [], [], []
    for population in plan.populations:
        (connection,) = plan.into(population.name)
        movable = population.name not in fixed
        shift = removable_shift(population, connection, plan.steps) if movable else 0
        coarse, feeding = coarser(population, connection, shift)
        populations.append(coarse)
        connections.append(feeding)
        reasons += register_reasons(coarse, feeding)
    refuse(reasons)
    return replace(plan, populations=tuple(populations), connections=tuple(connections))


def check_sequential(plan: IntegerPlan) -> None:
    """Raise if the plan has branches.

    Raises:
        UnsupportedNodeError: names every population that is not fed by exactly the one
            before it.
    """
    before, reasons = plan.input_name, []
    for population in plan.populations:
        sources = [c.source for c in plan.into(population.name)]
        if sources != [before]:
            reasons.append(
                f"node {population.name!r} is fed by {sources}, not by {before!r}"
                " alone; the format has no branches"
            )
        before = population.name
    refuse(reasons)


def removable_shift(population: Population, connection: Connection, steps: int) -> int:
    """Bits by which the unit can be coarser while every number stays an integer.

    The bits that keep decays exact within T steps are not removed.
    """
    constants = [population.bias, np.array(population.threshold or 0)]
    zeros = [trailing_zeros(c) for c in constants]
    shift = min([connection.shift, *(z for z in zeros if z is not None)])
    if population.decay_shift is None:
        return shift
    weights = trailing_zeros(connection.weights)
    increments = [z for z in (weights, zeros[0]) if z is not None]
    spare = connection.shift if weights is None else min(increments)
    needed = population.finest_shift * (steps - 1) - STATE_SHIFT
    return max(0, min(shift, spare - needed)) if needed > 0 else shift


def coarser(
    population: Population, connection: Connection, shift: int
) -> tuple[Population, Connection]:
    """Population and connection in units that are 2^shift times as large."""
    threshold = population.threshold
    coarse = replace(
        population,
        exponent=population.exponent + shift,
        threshold=None if threshold is None else threshold >> shift,
        bias=population.bias >> shift,
        bias_exponent=STATE_SHIFT,
    )
    return coarse, replace(connection, shift=connection.shift - shift)


def register_reasons(population: Population, connection: Connection) -> list[str]:
    """Reasons why the format cannot hold a population's numbers."""
    reasons = []
    weight = largest(connection.weights) << connection.shift
    if weight > NETX_WEIGHT_LIMIT:
        reasons.append(
            f"node {population.name!r}: weights up to {weight} units, at most"
            f" {NETX_WEIGHT_LIMIT}; biases or thresholds {connection.shift} bits finer"
            " than the weights leave no room, and the format has no weight exponent"
        )
    bias = largest(population.bias)
    if bias > BIAS_LIMIT:
        reasons.append(
            f"node {population.name!r}: bias up to {bias} units, at most {BIAS_LIMIT};"
            " the format has one bias exponent, 6"
        )
    return reasons


def refuse(reasons: list[str]) -> None:
    """Raise if there are reasons.

    Raises:
        UnsupportedNodeError: holds all reasons.
    """
    if reasons:
        raise UnsupportedNodeError("netx: " + "; ".join(reasons))


def layers_of(graph: SpikingGraph, plan: IntegerPlan) -> list[NetxLayer]:
    """One layer per population, in order.

    Raises:
        UnsupportedNodeError: a population with pixels is not fed by one convolution,
            with or without pools before it.
    """
    layers, reasons = [], []
    for population in plan.populations:
        (connection,) = plan.into(population.name)
        try:
            if len(population.shape) == 1:
                layers.append(dense_layer(population, connection))
            else:
                conv = folded_convolution(graph, connection)
                layers.append(conv_layer(graph, population, connection, conv))
        except UnsupportedNodeError as error:
            reasons.append(f"node {population.name!r}: {error}")
    refuse(reasons)
    return layers


def units(connection: Connection) -> csr_array:
    """The weights with their shift applied, int64 [N target, N source]."""
    return csr_array(connection.weights.astype(np.int64) * 2**connection.shift)


def dense_layer(population: Population, connection: Connection) -> NetxLayer:
    """All maps between two populations as one matrix."""
    weight = units(connection).toarray()
    fields = {
        "weight": weight,
        "bias": population.bias,
        "inFeatures": weight.shape[1],
        "outFeatures": weight.shape[0],
    }
    return NetxLayer("dense", population, fields)


def conv_layer(
    graph: SpikingGraph, population: Population, connection: Connection, conv: Conv2d
) -> NetxLayer:
    """A convolution in units; proven equal to the plan's matrix."""
    kernel = integer_kernel(conv, graph.shapes[connection.source], units(connection))
    fields = {
        "weight": kernel,
        "bias": channel_bias(population),
        "stride": np.array(conv.stride),
        "padding": np.array(conv.padding),
        "dilation": np.array(conv.dilation),
        "groups": conv.groups,
        "kernelSize": np.array(conv.kernel),
        "inChannels": conv.weight.shape[1] * conv.groups,
        "outChannels": conv.weight.shape[0],
    }
    return NetxLayer("conv", population, fields)


def channel_bias(population: Population) -> Integers:
    """The bias of each channel if it is equal there, else (W, H, C) for the loader."""
    bias = population.bias.reshape(population.shape)
    if (bias == bias[:, :1, :1]).all():
        return np.ascontiguousarray(bias[:, 0, 0])
    return np.ascontiguousarray(bias.T)


def folded_convolution(graph: SpikingGraph, connection: Connection) -> Conv2d:
    """The chain of nodes between two populations as one convolution.

    Raises:
        UnsupportedNodeError: it is not pools and then one convolution.
    """
    *pools, conv = chain(graph, connection)
    if not isinstance(conv, Conv2d):
        raise UnsupportedNodeError(
            f"it is fed by a {type(conv).__name__}; the format has convolutions and"
            " dense layers, and pools only before them"
        )
    for pool in reversed(pools):
        conv = fold(pool, conv)
    return conv


def chain(graph: SpikingGraph, connection: Connection) -> list[Node]:
    """The nodes between a source and its target, in order."""
    found: list[Node] = []
    (name,) = graph.predecessors(connection.target)
    while name != connection.source:
        found.insert(0, graph.nodes[name])
        (name,) = graph.predecessors(name)
    if not found:
        raise UnsupportedNodeError("nothing with weights stands before it")
    return found


def fold(pool: Node, conv: Conv2d) -> Conv2d:
    """pool, then conv, as one convolution; exact where the pool has no remainder.

    AvgPool(k) then Conv(K, S, P) is Conv(K k, S k, P k) with each weight repeated k by
    k times and divided by k^2.

    Raises:
        UnsupportedNodeError: another node, overlapping windows, or a dilation.
    """
    if not isinstance(pool, SumPool2d) or pool.kernel != pool.stride:
        raise UnsupportedNodeError(
            f"a {type(pool).__name__} stands before its convolution; only pools whose"
            " windows do not overlap can be folded"
        )
    if conv.dilation != (1, 1):
        raise UnsupportedNodeError(
            "a pool before a dilated convolution cannot be folded"
        )
    (ky, kx), (sy, sx), (py, px) = pool.kernel, conv.stride, conv.padding
    weight = np.repeat(np.repeat(conv.weight, ky, axis=2), kx, axis=3) * pool.scale
    return replace(
        conv, weight=weight, stride=(sy * ky, sx * kx), padding=(py * ky, px * kx)
    )


def integer_kernel(conv: Conv2d, shape: Shape, expected: csr_array) -> Integers:
    """The kernel in units, (out, in, kh, kw), such that it unrolls to `expected`.

    Raises:
        UnsupportedNodeError: no kernel does: neurons of one population differ, or a
            pool leaves pixels over.
    """
    factor = largest(expected) / max(float(np.abs(conv.weight).max()), 2.0**-1000)
    kernel = np.rint(conv.weight * factor)
    whole = replace(conv, weight=kernel, bias=np.zeros(len(kernel)))
    try:
        matrix = unroll(whole, shape)[0].at(0)
    except GraphError as error:
        raise UnsupportedNodeError(str(error)) from error
    if matrix.shape != expected.shape or (matrix != expected).nnz:
        raise UnsupportedNodeError(
            "it is no convolution of whole numbers: its neurons differ in tau or r, or"
            " a pool before it leaves pixels over"
        )
    return kernel.astype(np.int64)
