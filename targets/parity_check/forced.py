"""State-forced runs: every layer reads the reference's spikes, so errors stay local.

In a free run, one flipped spike disturbs every later layer. In a state-forced run, each
population reads the reference's spikes instead of those of its predecessors, and keeps
its own membrane. A mismatch is then an error of the layer that shows it.

Targets that run layer by layer take the given spikes instead of their own. Targets that
run the integer plan get a plan in which the input feeds every population. That input is
the image and all spikes, side by side, so one run covers all layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, cast

import numpy as np
from scipy.sparse import csr_array

from stars.graph.nodes import Array
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan import Connection, IntegerPlan
from stars.grid.plan_file import write_plan
from targets.base import Target
from targets.lava.client import LavaTarget, run_job
from targets.lava.jobs import Job
from targets.loihi.emulator import emulate, integer_inputs

FORCED_INPUT = "input and spikes"


class TakesSpikes(Protocol):
    """A target that can feed its layers with given spikes."""

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """Like `Target.run`, but each layer reads the spikes of the trace `forced`."""


Forced = Callable[[Target, SpikingGraph, Array, Trace], Trace]


def forced_layers(
    target: Target, graph: SpikingGraph, inputs: Array, desired: Trace
) -> Trace:
    """The forced trace of a target that runs layer by layer."""
    return cast("TakesSpikes", target).run(graph, inputs, desired)


def forced_emulator(
    _: Target, graph: SpikingGraph, inputs: Array, desired: Trace
) -> Trace:
    """The forced trace of the Loihi emulator, on a plan of layers side by side."""
    plan = lower(graph)
    values = side_by_side(plan, check_inputs(graph, inputs), desired)
    return emulate(forced_plan(plan), values)


def forced_lava(
    target: Target, graph: SpikingGraph, inputs: Array, desired: Trace
) -> Trace:
    """The forced trace of Lava, on a plan of layers side by side."""
    lava = cast("LavaTarget", target)
    plan = lower(graph)
    values = side_by_side(plan, check_inputs(graph, inputs), desired)
    apart = forced_plan(plan)

    def put(job: Job) -> None:
        write_plan(job.folder / "plan.npz", apart)

    return run_job(apart, values, lava.mode, put, lava.patience)


FORCED: Mapping[str, Forced] = {
    "reference": forced_layers,
    "student": forced_layers,
    "norse": forced_layers,
    "onnx": forced_layers,
    **dict.fromkeys(("c", "c-wasm", "c-arm", "c-arm-m55"), forced_layers),
    "loihi": forced_emulator,
    "lava-float": forced_lava,
    "lava-fixed": forced_lava,
}


def forced_plan(plan: IntegerPlan) -> IntegerPlan:
    """A copy of `plan` in which only the input feeds each population, without delay.

    Its input is flat, as from `side_by_side`: the plan's own input, then the spikes of
    each spiking population, in order.
    """
    low, high = [plan.input_low], [plan.input_high]
    starts, size = {plan.input_name: 0}, len(plan.input_low)
    for population in plan.populations:
        starts[population.name] = size
        count = math.prod(population.shape) if population.spiking else 0
        size += count
        low.append(np.zeros(count, np.int64))
        high.append(np.ones(count, np.int64))
    return IntegerPlan(
        input_name=FORCED_INPUT,
        input_shape=(size,),
        input_exponent=0,
        input_low=np.concatenate(low),
        input_high=np.concatenate(high),
        populations=tuple(replace(p, latency=0) for p in plan.populations),
        connections=tuple(moved(c, starts[c.source], size) for c in plan.connections),
        steps=plan.steps,
    )


def moved(connection: Connection, start: int, size: int) -> Connection:
    """The connection, reading its source at `start` in an input of `size` values."""
    weights = connection.weights
    wide = csr_array(
        (weights.data, weights.indices + start, weights.indptr),
        shape=(weights.shape[0], size),
    )
    return replace(
        connection, source=FORCED_INPUT, weights=wide, delay=0, convolution=None
    )


def side_by_side(plan: IntegerPlan, inputs: Array, desired: Trace) -> Array:
    """The input of `forced_plan`, [T, B, N]: the input as integers, then the spikes."""
    steps, batch = inputs.shape[:2]
    integers = np.asarray(integer_inputs(plan, inputs), np.float64)
    parts = [np.broadcast_to(integers, (steps, *integers.shape[1:]))]
    parts += [
        desired.spikes[p.name].reshape(steps, batch, -1).astype(np.float64)
        for p in plan.populations
        if p.spiking
    ]
    return np.concatenate(parts, axis=2)


def head(trace: Trace, count: int) -> Trace:
    """The first `count` samples of a trace."""
    return Trace(
        {name: values[:, :count] for name, values in trace.spikes.items()},
        {name: values[:, :count] for name, values in trace.membranes.items()},
        trace.readout,
    )
