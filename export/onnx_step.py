"""One step of a SpikingGraph as ONNX operators; all ONNX forms are built from it.

Weights and time constants are stored once for all steps. All arithmetic is float32. On
the grid its sums are exact in any order, so a runtime may fuse and reorder operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from export.onnx_nodes import MAPS, STATEFUL
from export.onnx_operators import NodeValues, Step
from stars.graph.nodes import Array, Input, Output, Stateful
from stars.graph.reference import arriving_values
from stars.graph.spiking_graph import SpikingGraph


@dataclass(frozen=True)
class StepValues:
    """Names of the values that one step computed.

    Args:
        output: the graph's output.
        states: after the step, by the names in `initial_states`.
        membranes: of each neuron node, after the reset.
        spikes: of each spiking node, bool.
    """

    output: str
    states: Mapping[str, str]
    membranes: Mapping[str, str]
    spikes: Mapping[str, str]


def initial_states(graph: SpikingGraph) -> dict[str, Array]:
    """The states before the first step, by name: [*shape].

    A node's state has the node's name. The previous value of a node before a delayed
    edge has that name and ":last". Empty states are left out.
    """
    nodes = {name: graph.running(name) for name in graph.stateful}
    states = {n: v.initial(1)[0] for n, v in nodes.items() if isinstance(v, Stateful)}
    states |= {f"{name}:last": np.zeros(graph.shapes[name]) for name in graph.held}
    return {name: state for name, state in states.items() if state.size}


def add_step(step: Step, arriving: str, states: Mapping[str, str]) -> StepValues:
    """Add the operators of all nodes to a step.

    Args:
        step: receives the operators.
        arriving: name of the input's value.
        states: names of the states before the step, by the names in `initial_states`.
    """
    graph = step.graph
    values = {graph.input: arriving}
    last = {name: states[f"{name}:last"] for name in graph.held}
    found: dict[str, NodeValues] = {}
    for name in graph.order:
        node = graph.running(name)
        if isinstance(node, Input):
            continue
        sources = arriving_values(graph, name, values, last)
        x = total(step, name, list(sources.values()))
        if isinstance(node, Output):
            values[name] = x
        elif type(node) in MAPS:
            values[name] = MAPS[type(node)](step, name, node, x)
        else:
            found[name] = STATEFUL[type(node)](
                step, name, node, x, states.get(name, "")
            )
            values[name] = found[name].output
    after = {n: v.state or v.membrane or "" for n, v in found.items() if n in states}
    after |= {f"{name}:last": values[name] for name in last}
    return StepValues(
        values[graph.output],
        {name: after[name] for name in states},
        {n: v.membrane for n, v in found.items() if v.membrane is not None},
        {n: v.spikes for n, v in found.items() if v.spikes is not None},
    )


def total(step: Step, name: str, values: Sequence[str]) -> str:
    """The sum of the named values, in their order."""
    result = values[0]
    for i, value in enumerate(values[1:]):
        result = step.value("Add", [result, value], name, f"sum{i}")
    return result
