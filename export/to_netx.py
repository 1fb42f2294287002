"""SpikingGraph -> netx HDF5, the file that Lava's own deep-learning loader reads.

The format has a sequence of dense and convolutional layers, integers, and one weight
exponent that the loader derives. It has neither pools nor sums of branches. The plan
composes pools with convolutions into strided convolutions, and all maps before a dense
layer into one matrix. A network that the format cannot express exactly is refused.

    /layer/<i>/type     S10 (1,): "input", "conv", "flatten" or "dense"
    /layer/<i>/shape    of the output, (C, H, W) or (N,)
    /layer/<i>/weight   conv: (out, in, kh, kw); dense: (out, in); in units
    /layer/<i>/bias     units: (C,) where equal in a channel, else (W, H, C); or (N,)
    /layer/<i>/stride, padding, dilation, kernelSize   (vertical, horizontal)
    /layer/<i>/groups, inChannels, outChannels, inFeatures, outFeatures
    /layer/<i>/neuron/type     S10 (1,): "CUBA"
    /layer/<i>/neuron/iDecay   4096 dt / tau_syn; 4096: no synaptic memory
    /layer/<i>/neuron/vDecay   4096 k
    /layer/<i>/neuron/vThMant  units
    /layer/<i>/neuron/refDelay, gradedSpike

Source: lava-dl 0.6.0, `lava/lib/dl/netx/hdf5.py`, which is the only reader.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stars.errors import UnsupportedNodeError
from stars.files.writing import atomic
from stars.graph.nodes import Neuron
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.convolution import Convolution
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

NETX_WEIGHT_LIMIT = 2 * WEIGHT_LIMIT  # even if signs mix; the loader clips more
DECAY_UNITY = 4096
NEVER = 2**THRESHOLD_BITS - 1  # threshold of a readout

Fields = dict[str, Any]


@dataclass(frozen=True, eq=False)
class NetxLayer:
    """One layer of the file.

    Args:
        kind: "conv" or "dense".
        population: its neurons.
        fields: its data sets by name, integers.
    """

    kind: str
    population: Population
    fields: Fields


def write(graph: SpikingGraph, path: Path) -> IntegerPlan:
    """Write `graph` as netx HDF5, all or nothing; returns the plan that it holds.

    The plan is `lower(graph)` in units that need no left shift. A run of the file has
    its membranes in these units.

    Raises:
        GraphError, LimitError: as `stars.grid.lower`.
        UnsupportedNodeError: the format cannot express it; holds every reason.
        DataError: the file cannot be written.
    """
    plan = plan_without_shifts(lower(graph), fixed=truncating(graph))
    layers = layers_of(plan)
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
    """Write one layer to the file."""
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
    """The neurons' data sets, as register values of the chip."""
    shift = population.decay_shift
    return {
        "iDecay": DECAY_UNITY >> population.current_decay_shift,
        "vDecay": 0 if shift is None else DECAY_UNITY >> shift,
        "vThMant": NEVER if population.threshold is None else population.threshold,
        "refDelay": 1,
        "gradedSpike": False,
    }


def truncating(graph: SpikingGraph) -> set[str]:
    """Names of the nodes that fix the unit of the chip's membrane themselves."""
    neurons = {n: v for n, v in graph.nodes.items() if isinstance(v, Neuron)}
    return {name for name, node in neurons.items() if node.decay == "truncate"}


def plan_without_shifts(plan: IntegerPlan, *, fixed: Set[str]) -> IntegerPlan:
    """`plan` with each population's unit as coarse as its left shift allows.

    Args:
        plan: sequential.
        fixed: names of populations that keep their unit.

    Raises:
        UnsupportedNodeError: a population has other inputs than one connection from the
            one before, or its numbers do not fit the format's registers.
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
    """Refuse branches.

    Raises:
        UnsupportedNodeError: names every population with another source than the one
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
    """Bits by which the unit can be coarser with every number still an integer.

    The bits that keep decays from being truncated within T steps stay.
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
    """Population and connection in units that are 2^shift larger."""
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
    """Reasons why a population's numbers do not fit the format."""
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
        UnsupportedNodeError: holds every reason.
    """
    if reasons:
        raise UnsupportedNodeError("netx: " + "; ".join(reasons))


def layers_of(plan: IntegerPlan) -> list[NetxLayer]:
    """One layer per population, in order.

    Raises:
        UnsupportedNodeError: a population with pixels is not fed by a convolution.
    """
    layers, reasons = [], []
    for population in plan.populations:
        (connection,) = plan.into(population.name)
        if len(population.shape) == 1:
            layers.append(dense_layer(population, connection))
        elif connection.convolution is None:
            reasons.append(
                f"node {population.name!r} has pixels but is not fed by a convolution:"
                " neurons of one channel differ in weights, tau or r, or a pool before"
                " a padded convolution leaves pixels over"
            )
        else:
            found = connection.convolution
            layers.append(conv_layer(population, found, connection.shift))
    refuse(reasons)
    return layers


def dense_layer(population: Population, connection: Connection) -> NetxLayer:
    """All maps between two populations as one matrix."""
    weight = connection.weights.toarray().astype(np.int64) << connection.shift
    fields = {
        "weight": weight,
        "bias": population.bias,
        "inFeatures": weight.shape[1],
        "outFeatures": weight.shape[0],
    }
    return NetxLayer("dense", population, fields)


def conv_layer(population: Population, found: Convolution, shift: int) -> NetxLayer:
    """A convolution in units; `shift` is the connection's left shift."""
    geometry = found.geometry
    fields = {
        "weight": found.kernel.astype(np.int64) << shift,
        "bias": channel_bias(population),
        "stride": np.array(geometry.stride),
        "padding": np.array(geometry.padding),
        "dilation": np.array(geometry.dilation),
        "groups": geometry.groups,
        "kernelSize": np.array(geometry.kernel),
        "inChannels": geometry.source[0],
        "outChannels": geometry.target[0],
    }
    return NetxLayer("conv", population, fields)


def channel_bias(population: Population) -> Integers:
    """One value per channel if channels are uniform, else (W, H, C) for the loader."""
    bias = population.bias.reshape(population.shape)
    if (bias == bias[:, :1, :1]).all():
        return np.ascontiguousarray(bias[:, 0, 0])
    return np.ascontiguousarray(bias.T)
