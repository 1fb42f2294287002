"""Random configurations in Lava fixed_pt against the emulator: every spike, u and v.

A configuration is a seed. Several networks share one worker, side by side: starting one
takes as long as running many small ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from stars.errors import GraphError, LimitError
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan import Connection, IntegerPlan, Population
from stars.grid.plan_file import write_plan
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph
from targets.lava.client import run_job
from targets.lava.jobs import Job
from targets.lava.supervision import Patience
from targets.loihi.emulator import Emulator, emulate

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_python")]

LENGTHS = (1, 2, 3, 5, 8, 12, 16)
SAMPLES = 2
TOGETHER = 8  # networks of one worker
READOUT_LIMIT = 2**17 - 1  # units; a readout beyond is refused, not compared


@dataclass(frozen=True)
class Configuration:
    """One network and its input, integers [T, B, N]."""

    seed: int
    plan: IntegerPlan
    inputs: np.ndarray

    @property
    def volts(self) -> np.ndarray:
        shape = (*self.inputs.shape[:2], *self.plan.input_shape)
        return np.ldexp(self.inputs, self.plan.input_exponent).reshape(shape)


def configuration(seed: int, steps: int) -> Configuration:
    """The network of a seed; it is drawn again until it fits the chip."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            graph = random_graph(
                rng,
                kind=str(rng.choice(list(KINDS))),
                decay_shift=int(rng.choice([1, 1, 2, 3, 4, 6, 9, 12])),
                bias=bool(rng.integers(4)),
                steps=steps,
            )
            plan = lower(graph)
        except (GraphError, LimitError):
            continue
        if rng.random() < 0.5:
            plan = louder(rng, plan)
        shape = (steps, SAMPLES, len(plan.input_low))
        inputs = rng.integers(plan.input_low, plan.input_high + 1, shape)
        found = Configuration(seed, plan, inputs)
        readout = plan.populations[-1]
        v = emulate(plan, found.volts).membranes[readout.name] - readout.offset
        if np.ldexp(v, -readout.exponent).max() <= READOUT_LIMIT:
            return found


def louder(rng: np.random.Generator, plan: IntegerPlan) -> IntegerPlan:
    """`plan` with currents and biases, of both signs, that wrap and clip.

    A quarter of the populations that spike get a memory of their current.
    """
    spiking = {p.name for p in plan.populations if p.spiking}
    return replace(
        plan,
        connections=tuple(
            replace(c, shift=int(rng.integers(9))) if c.target in spiking else c
            for c in plan.connections
        ),
        populations=tuple(
            replace(
                p,
                bias=rng.integers(-4095, 4096, p.bias.shape),
                bias_exponent=6,
                threshold=int(rng.integers(1, 2**17)),
                current_decay_shift=memory(rng, p),
            )
            if p.spiking
            else p
            for p in plan.populations
        ),
    )


def memory(rng: np.random.Generator, population: Population) -> int:
    """The decay of a population's current, of a quarter of them a new one."""
    drawn = int(rng.integers(13))
    return drawn if rng.random() < 0.25 else population.current_decay_shift


def side_by_side(configurations: list[Configuration]) -> Configuration:
    """All networks as one, with one flat input; names begin with the seed."""
    sizes = [len(c.plan.input_low) for c in configurations]
    starts = np.cumsum([0, *sizes])
    populations, connections = [], []
    for start, c in zip(starts, configurations, strict=False):
        populations += [
            replace(p, name=f"{c.seed} {p.name}") for p in c.plan.populations
        ]
        for connection in c.plan.connections:
            connections.append(moved(connection, c, int(start), int(starts[-1])))
    plan = IntegerPlan(
        input_name="input",
        input_shape=(int(starts[-1]),),
        input_exponent=0,
        input_low=np.concatenate([c.plan.input_low for c in configurations]),
        input_high=np.concatenate([c.plan.input_high for c in configurations]),
        populations=tuple(populations),
        connections=tuple(connections),
        steps=configurations[0].plan.steps,
    )
    return Configuration(
        -1, plan, np.concatenate([c.inputs for c in configurations], 2)
    )


def moved(c: Connection, of: Configuration, start: int, width: int) -> Connection:
    """A connection of one network, among the names and inputs of all."""
    target = f"{of.seed} {c.target}"
    if c.source != of.plan.input_name:
        return replace(c, source=f"{of.seed} {c.source}", target=target)
    w = c.weights
    shape = (w.shape[0], width)
    weights = csr_array((w.data, w.indices + start, w.indptr), shape=shape)
    return replace(c, source="input", target=target, weights=weights, convolution=None)


@dataclass
class Found:
    """What a comparison found.

    Args:
        differ: spikes, currents and membranes that do, by seed; without those of none.
        neuron_steps: compared, each in all three.
        with_memory: of them, in populations whose current has one.
    """

    differ: dict[int, int]
    neuron_steps: int = 0
    with_memory: int = 0


def compared(seeds: range) -> Found:
    """What differs between Lava and the emulator, all seeds in one worker."""
    rng = np.random.default_rng(seeds.start)
    steps = int(rng.choice(LENGTHS))
    configurations = [configuration(seed, steps) for seed in seeds]
    together = side_by_side(configurations)

    def put(job: Job) -> None:
        write_plan(Path(job.folder) / "plan.npz", together.plan)

    patience = Patience(stall=60.0)  # many processes on few cores
    trace = run_job(
        together.plan, together.volts, "fixed", put, patience, currents=True
    )
    found = Found({})
    for c in configurations:
        wrong = differences(c, trace)
        if wrong:
            found.differ[c.seed] = wrong
        for p in c.plan.populations:
            count = steps * SAMPLES * math.prod(p.shape)
            found.neuron_steps += count
            found.with_memory += count if p.current_decay_shift else 0
    return found


def differences(c: Configuration, trace: Trace) -> int:
    """Spikes, currents and membranes of one network that the emulator has not alike."""
    expected = Emulator.of(c.plan, len(c.volts)).run(c.volts, currents=True)
    wrong = 0
    for p in c.plan.populations:
        name = f"{c.seed} {p.name}"
        wrong += int((trace.membranes[name] != expected.membranes[p.name]).sum())
        wrong += int((trace.currents[name] != expected.currents[p.name]).sum())
        if p.spiking:
            wrong += int((trace.spikes[name] != expected.spikes[p.name]).sum())
    return wrong


@pytest.mark.parametrize("first", range(0, 8, TOGETHER))
def test_lava_equals_the_emulator(first: int) -> None:
    found = compared(range(first, first + TOGETHER))
    assert found.differ == {}
    assert found.neuron_steps > found.with_memory > 0


@pytest.mark.torture
@pytest.mark.parametrize("first", range(8, 1008, TOGETHER))
def test_lava_equals_the_emulator_a_thousand_times(first: int) -> None:
    assert compared(range(first, first + TOGETHER)).differ == {}
