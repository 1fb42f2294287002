"""Random plans in compiled C against the emulator: every spike and membrane.

A configuration is a seed. Half of them have currents that wrap, membranes that clip and
sums of every type. All are compiled with checks of addresses and undefined behavior.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.c.folder import write_network
from export.c.program import program_of
from stars.errors import GraphError, LimitError
from stars.files.writing import write_text
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan import IntegerPlan, Population
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph
from targets.c.target import RECORD, CTarget, read_trace, stream
from targets.loihi.emulator import emulate

SAMPLES = 2
FLAGS = ("-std=c99", "-O1", "-DSTARS_RECORD", "-fsanitize=address,undefined")
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
TARGET = CTarget(flags=(*FLAGS, "-fno-sanitize-recover", *STRICT), seconds=60.0)


def drawn(rng: np.random.Generator) -> IntegerPlan:
    """A random plan."""
    while True:
        try:
            graph = random_graph(
                rng,
                kind=str(rng.choice(list(KINDS))),
                decay_shift=int(rng.choice([1, 1, 2, 3, 4, 6, 9, 12])),
                bias=bool(rng.integers(4)),
                steps=int(rng.choice([1, 2, 3, 5, 8, 12])),
            )
            plan = lower(graph)
        except (GraphError, LimitError):
            continue
        return louder(rng, plan) if rng.random() < 0.5 else plan


def louder(rng: np.random.Generator, plan: IntegerPlan) -> IntegerPlan:
    """`plan` with any shifts, biases, thresholds and memories, each for half of it."""

    def changed(p: Population) -> Population:
        if not p.spiking or rng.random() < 0.5:
            return p
        return replace(
            p,
            bias=rng.integers(-4095, 4096, p.bias.shape),
            threshold=int(rng.integers(1, 2**17)),
            current_decay_shift=int(rng.integers(13)),
        )

    return replace(
        plan,
        connections=tuple(
            replace(c, shift=int(rng.integers(9))) if rng.random() < 0.5 else c
            for c in plan.connections
        ),
        populations=tuple(map(changed, plan.populations)),
    )


def compiled_run(
    plan: IntegerPlan, inputs: np.ndarray, kernels: str, folder: Path
) -> tuple[Trace, set[str]]:
    """(Trace of the compiled plan, types of its sums)."""
    program = program_of(plan, {}, kernels)
    write_network(program, None, folder, "network")
    record = RECORD.read_text(encoding="utf-8").replace("NETWORK", "network")
    write_text(folder / "record.c", record)
    TARGET.build(folder, [folder / "network.c", folder / "record.c"])
    steps, batch = inputs.shape[:2]
    given = stream(plan, inputs, None)
    numbers = [str(n) for n in (batch, steps, 0, 0)]
    TARGET.execute(folder, folder, given, numbers)
    trace = read_trace(plan, folder / "out", steps, batch)
    return trace, {layer.sums for layer in program.layers}


def check(seed: int, folder: Path) -> set[str]:
    """Compare one configuration; returns the types of its sums."""
    rng = np.random.default_rng(seed)
    plan = drawn(rng)
    shape = (plan.steps, SAMPLES, len(plan.input_low))
    integers = rng.integers(plan.input_low, plan.input_high + 1, shape)
    inputs = np.ldexp(integers, plan.input_exponent)
    inputs = inputs.reshape(*shape[:2], *plan.input_shape)
    kernels = str(rng.choice(["auto", "event", "dense"]))
    found, sums = compiled_run(plan, inputs, kernels, folder)
    expected = emulate(plan, inputs)
    for p in plan.populations:
        where = f"seed {seed}, {p.name}"
        membranes = found.membranes[p.name], expected.membranes[p.name]
        assert np.array_equal(*membranes), where
        if p.spiking:
            spikes = found.spikes[p.name], expected.spikes[p.name]
            assert np.array_equal(*spikes), where
    return sums


def test_compiled_plans_equal_the_emulator(tmp_path):
    sums = set().union(*(check(seed, tmp_path) for seed in range(8)))
    assert sums == {"i16", "i32", "i64"}


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(8, 1008))
def test_compiled_plans_equal_the_emulator_a_thousand_times(seed, tmp_path):
    check(seed, tmp_path)
