"""The definition of truth: a graph on an input, float64 numpy, one node at a time.

It is written to be read, not to be fast; every other implementation is held against it.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TypeVar

import numpy as np

from stars.errors import DataError
from stars.graph import SpikingGraph
from stars.nodes import Array, Input, Map, Neuron
from stars.trace import Trace

Value = TypeVar("Value")


def run(graph: SpikingGraph, inputs: Array, forced: Trace | None = None) -> Trace:
    """The trace of `graph` on inputs [T, B, *input shape], from the initial state.

    Membranes of every neuron node are recorded after the reset of each step.

    Args:
        graph: what to run.
        inputs: as above.
        forced: each node reads the spikes of this trace, not those that the nodes
            before it make: what a layer does on its own.

    Raises:
        DataError: inputs have another shape, no step, no sample, or NaN or infinity.
    """
    inputs = check_inputs(graph, inputs)
    steps, batch = inputs.shape[:2]
    state = {name: graph.neuron(name).initial(batch) for name in graph.neurons}
    spikes = {
        n: np.empty((steps, batch, *graph.shapes[n]), bool) for n in graph.spiking
    }
    membranes = {
        n: np.empty((steps, batch, *graph.shapes[n]), np.float64) for n in graph.neurons
    }
    for t in range(steps):
        values: dict[str, Array] = {}
        for name in graph.order:
            node = graph.nodes[name]
            if isinstance(node, Input):
                values[name] = inputs[t]
                continue
            arriving = sum_of(values, graph.predecessors(name))
            if isinstance(node, Map):
                values[name] = node.apply(arriving)
            elif isinstance(node, Neuron):
                values[name], state[name] = node.step(arriving, state[name], graph.dt)
                membranes[name][t] = state[name]
                if node.spiking:
                    spikes[name][t] = values[name] != 0
                    if forced is not None:
                        values[name] = forced.spikes[name][t].astype(np.float64)
    return Trace(spikes, membranes, graph.readout)


def sum_of(values: Mapping[str, Value], names: Sequence[str]) -> Value:
    """The sum of the named arrays or tensors, in the order of `names`."""
    return reduce(operator.add, (values[name] for name in names))


def check_inputs(graph: SpikingGraph, inputs: Array) -> Array:
    """`inputs` as float64 [T, B, *input shape].

    Raises:
        DataError: another shape, no step, no sample, or a value that is not finite.
    """
    shape = graph.shapes[graph.input]
    if inputs.ndim != len(shape) + 2 or inputs.shape[2:] != shape:
        raise DataError(
            f"inputs have shape {inputs.shape}, expected [T, B, "
            + ", ".join(map(str, shape))
            + "]"
        )
    if min(inputs.shape[:2]) < 1:
        raise DataError(f"inputs have shape {inputs.shape}: no step or no sample in it")
    if not np.isfinite(inputs).all():
        raise DataError("inputs hold NaN or infinity; every value must be finite")
    return inputs.astype(np.float64, copy=False)
