"""The reference simulator defines what a graph computes: float64 NumPy, node by node.

It is written to be read, not to be fast. Other implementations are compared with it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import TypeVar

import numpy as np

from stars.errors import DataError
from stars.graph.nodes import Array, Input, Map, Neuron, Stateful
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace

Value = TypeVar("Value")


def run(graph: SpikingGraph, inputs: Array, forced: Trace | None = None) -> Trace:
    """The trace of `graph` on inputs [T, B, *input shape], from the initial state.

    Membranes of every neuron node are recorded after the reset of each step. A delayed
    edge (`graph.delayed`) delivers the value of the previous step, and zeros in the
    first step.

    Args:
        graph: the graph to run.
        inputs: as above.
        forced: if given, each node reads the spikes of this trace instead of those of
            the nodes before it. The run then shows what each layer computes on its own.

    Raises:
        DataError: inputs have a wrong shape, no step, no sample, or NaN or infinity.
    """
    inputs = check_inputs(graph, inputs)
    steps, batch = inputs.shape[:2]
    nodes = {name: graph.running(name) for name in graph.order}
    state = {n: v.initial(batch) for n, v in nodes.items() if isinstance(v, Stateful)}
    last = {n: np.zeros((batch, *graph.shapes[n])) for n in graph.held}
    spikes = {
        n: np.empty((steps, batch, *graph.shapes[n]), bool) for n in graph.spiking
    }
    membranes = {
        n: np.empty((steps, batch, *graph.shapes[n]), np.float64) for n in graph.neurons
    }
    for t in range(steps):
        values: dict[str, Array] = {}
        for name, node in nodes.items():
            if isinstance(node, Input):
                values[name] = inputs[t]
                continue
            sources = arriving_values(graph, name, values, last)
            arriving = sum_of(sources, sources)
            if isinstance(node, Map):
                values[name] = node.apply(arriving)
            elif isinstance(node, Stateful):
                values[name], state[name] = node.step(arriving, state[name], graph.dt)
            if isinstance(node, Neuron):
                membranes[name][t] = node.membrane(state[name])
                if node.spiking:
                    spikes[name][t] = values[name] != 0
                    if forced is not None:
                        values[name] = forced.spikes[name][t].astype(np.float64)
        last = {name: values[name] for name in last}
    return Trace(spikes, membranes, graph.readout)


def arriving_values(
    graph: SpikingGraph,
    name: str,
    values: Mapping[str, Value],
    last: Mapping[str, Value],
) -> dict[str, Value]:
    """The value that each predecessor delivers to node `name`, in their order.

    Args:
        graph: holds the node.
        name: of the node.
        values: of this step, by node.
        last: of the previous step, by the nodes in `graph.held`.
    """
    return {
        p: last[p] if (p, name) in graph.delayed else values[p]
        for p in graph.predecessors(name)
    }


def sum_of(values: Mapping[str, Value], names: Iterable[str]) -> Value:
    """The sum of the named arrays or tensors, in the order of `names`."""
    return reduce(operator.add, (values[name] for name in names))


def check_inputs(graph: SpikingGraph, inputs: Array) -> Array:
    """`inputs` as float64 [T, B, *input shape].

    Raises:
        DataError: a wrong shape, no step, no sample, or a value that is not finite.
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
