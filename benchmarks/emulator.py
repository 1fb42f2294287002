"""The emulator against Lava fixed_pt, sample for sample, on the same cores.

    python benchmarks/emulator.py [--run RUN] [--json FILE]

Prints a table and writes benchmarks/results/emulator.json. Two networks are run by
both, with T = 16 and an image held for all steps; every spike and membrane of the
samples that Lava runs is compared first, and a difference ends the run.

Lava is in its quickest correct setup: Sparse connections (its own Conv takes three
times as long), the samples streamed back to back through one network, one process per
Lava process, memory-mapped input and records instead of probes. `ratio` is to the
emulator without records of hidden layers, as Lava without probes has none;
`ratio_all_recorded` to one that keeps every spike and membrane, as parity needs them.
Start-up is left out on both sides. The time of the demo's student (of RUN, or a fresh
one as large) is for the 10,000 test images, everything recorded. Compare the ratios:
the absolute figures belong to the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stars.data import load
from stars.encode import DirectEncoding
from stars.graph import SpikingGraph
from stars.grid import quantise
from stars.nodes import LIF, Affine, Array, Conv2d, Flatten, Input, Integrator, Output
from stars.plan import lower
from stars.plan_file import write_plan
from stars.testing import assert_same_membranes, assert_same_spikes, calibrate
from stars.trace import Trace
from targets.lava.environment import lava_python
from targets.lava.jobs import job_folder, read_trace
from targets.lava.supervision import Patience, run_worker
from targets.loihi_emulator import Emulator, LoihiEmulator
from targets.subject import Subject

RESULTS = Path(__file__).parent / "results" / "emulator.json"
ENCODING = DirectEncoding((0.286,), (0.353,))
DT, STEPS, CLASSES = 2.0**-10, 16, 10
SHAPE = (1, 28, 28)
REPEATS, CHUNK = 3, 50


def mlp(rng: np.random.Generator) -> SpikingGraph:
    """784-256-10."""
    hidden = 256
    return spiking(
        rng,
        Flatten(),
        Affine(rng.standard_normal((hidden, 784)), np.zeros(hidden)),
        LIF.uniform((hidden,), tau=2 * DT),
        Affine(rng.standard_normal((CLASSES, hidden)), np.zeros(CLASSES)),
    )


def conv(rng: np.random.Generator) -> SpikingGraph:
    """3 x 3 convolutions, 32 and 64 channels at 28 x 28, 128 at 14 x 14; dense 10."""
    nodes: list[Any] = []
    channels, size = 1, 28
    for out, stride in ((32, 1), (64, 1), (128, 2)):
        size //= stride
        weight = rng.standard_normal((out, channels, 3, 3))
        nodes.append(Conv2d(weight, np.zeros(out), (stride, stride), (1, 1)))
        nodes.append(LIF.uniform((out, size, size), tau=2 * DT))
        channels = out
    inputs = channels * size * size
    head = Affine(rng.standard_normal((CLASSES, inputs)), np.zeros(CLASSES))
    return spiking(rng, *nodes, Flatten(), head)


def spiking(rng: np.random.Generator, *between: Any) -> SpikingGraph:
    """The nodes in a row from an image to a readout, at healthy rates, on the grid."""
    readout = Integrator(np.full(CLASSES, 1 / DT))
    nodes = [Input(SHAPE), *between, readout, Output()]
    named = {f"{i}_{type(n).__name__.lower()}": n for i, n in enumerate(nodes)}
    graph = SpikingGraph(named, tuple(pairwise(named)), DT, STEPS, ENCODING)
    return quantise(calibrate(rng, graph, on_grid=False))


def run_lava(graph: SpikingGraph, inputs: Array) -> tuple[Trace, dict[str, float]]:
    """The trace, and the worker's seconds: `build_seconds` and `run_seconds`."""
    plan = lower(graph)
    with job_folder(plan, inputs, "fixed") as job:
        write_plan(job.folder / "plan.npz", plan)
        prefix = job.shared_memory_prefix
        result = run_worker(lava_python(), job.folder, prefix, Patience())
        return read_trace(job), result


def run_emulator(
    graph: SpikingGraph, inputs: Array, *, hidden: bool
) -> dict[str, float]:
    """Seconds of start-up (lowering and preparing) and of the best of some runs.

    Args:
        graph: on the grid.
        inputs: [T, B, *input shape].
        hidden: whether every spike and membrane is kept, or the readout's alone.
    """
    started = time.perf_counter()
    emulator = Emulator.of(lower(graph), graph.steps)
    emulator.run(inputs[:, :1])
    start = time.perf_counter() - started
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for first in range(0, inputs.shape[1], CHUNK):
            emulator.run(inputs[:, first : first + CHUNK], hidden=hidden)
        seconds.append(time.perf_counter() - started)
    return {"start": start, "run": min(seconds)}


def compare(
    make: Callable[[np.random.Generator], SpikingGraph],
    pictures: Array,
    lava_samples: int,
    samples: int,
) -> dict[str, Any]:
    """Both on one network; every time in seconds."""
    graph = make(np.random.default_rng(0))
    inputs = ENCODING.encode(pictures[:samples], STEPS)
    few = inputs[:, :lava_samples]
    trace, lava = run_lava(graph, few)
    expected = LoihiEmulator().run(graph, few)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)
    ours = run_emulator(graph, inputs, hidden=False)
    recorded = run_emulator(graph, inputs, hidden=True)["run"] / samples
    each = lava["run_seconds"] / lava_samples
    return {
        "network": make.__doc__,
        "rates": {name: round(rate, 3) for name, rate in expected.rates().items()},
        "compared_neuron_steps": graph.neuron_count() * STEPS * lava_samples,
        "lava_samples": lava_samples,
        "lava_start_seconds": lava["seconds"] - lava["run_seconds"],
        "lava_run_seconds": lava["run_seconds"],
        "lava_ms_per_sample": each * 1e3,
        "emulator_samples": samples,
        "emulator_start_seconds": ours["start"],
        "emulator_run_seconds": ours["run"],
        "emulator_ms_per_sample": ours["run"] / samples * 1e3,
        "emulator_samples_per_second": samples / ours["run"],
        "emulator_ms_per_sample_all_recorded": recorded * 1e3,
        "ratio": each / (ours["run"] / samples),
        "ratio_all_recorded": each / recorded,
    }


def student(run: Path | None) -> SpikingGraph:
    """The demo's student: of a run directory, or a fresh one of its size."""
    if run is not None:
        return Subject.open(run).graph
    import torch  # noqa: PLC0415 - not where a run is given

    from stars.architectures import blueprint  # noqa: PLC0415
    from stars.student import build, to_graph  # noqa: PLC0415

    torch.manual_seed(0)
    plan = blueprint("resnet", SHAPE, CLASSES, {"stem_stride": 2})
    return quantise(to_graph(build(plan, 4).eval(), ENCODING))


def demo(run: Path | None, pictures: Array) -> dict[str, Any]:
    """Seconds of the emulator for all test images, everything recorded."""
    graph = student(run)
    encoding = graph.encoding or ENCODING
    inputs = encoding.encode(pictures, graph.steps)
    ours = run_emulator(graph, inputs, hidden=True)
    return {
        "network": "fresh student" if run is None else f"student of {run.name}",
        "neurons": graph.neuron_count(),
        "steps": graph.steps,
        "images": len(pictures),
        "start_seconds": ours["start"],
        "run_seconds": ours["run"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    pictures = load("fashion-mnist").images
    document = {
        "setup": "Sparse, streamed back to back, no probes, start-up excluded",
        "steps": STEPS,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "mlp": compare(mlp, pictures, 100, 10_000),
        "conv": compare(conv, pictures, 4, 200),
        "demo": demo(options.run, pictures),
    }
    print(json.dumps(document, indent=2))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
