"""The emulator against Lava fixed_pt, sample for sample, on the same cores.

    python benchmarks/emulator.py [--run RUN] [--json FILE]

Prints a table and writes benchmarks/results/emulator.json. Both run two networks, with
T = 16 and an image held for all steps. First, every spike and membrane of Lava's
samples is compared, and a difference ends the run.

Lava uses its fastest correct setup: Sparse connections (its Conv takes three times as
long), samples streamed back to back through one network, one process per Lava process,
and memory-mapped input and records instead of probes. `ratio` compares with the
emulator without records of hidden layers, because Lava without probes has none.
`ratio_all_recorded` compares with one that records every spike and membrane, as parity
needs them. Both warm up once, then run in turn. Each time is the median of its repeats,
which are all listed. Start-up is excluded: of Lava the interpreter, imports,
compilation and the start of its processes, of the emulator the preparation of the plan
and its kernels. torch's kernels convolve spikes, as in `stars parity`. The demo's
student (of RUN, or a new one of its size) is timed on the 10,000 test images, with
everything recorded. Compare only the ratios; absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stars.config.models import StudentConfig
from stars.data.images import load
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    Array,
    Conv2d,
    Flatten,
    Input,
    Integrator,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan_file import write_plan
from stars.grid.quantization import quantize
from stars.networks.architectures import blueprint
from stars.networks.student import build, to_graph
from stars.runtime.allocator import keep_freed_memory
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import calibrate
from targets.lava.environment import lava_python
from targets.lava.jobs import job_folder, read_trace
from targets.lava.supervision import Patience, run_worker
from targets.loihi.emulator import Emulator, LoihiEmulator
from targets.subject import Subject

RESULTS = Path(__file__).parent / "results" / "emulator.json"
ENCODING = DirectEncoding((0.286,), (0.353,))
DT, STEPS, CLASSES = 2.0**-10, 16, 10
SHAPE = (1, 28, 28)
REPEATS, CHUNK = 5, 50


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
    """The nodes in sequence, from image to readout, at healthy rates on the grid."""
    readout = Integrator(np.full(CLASSES, 1 / DT))
    nodes = [Input(SHAPE), *between, readout, Output()]
    named = {f"{i}_{type(n).__name__.lower()}": n for i, n in enumerate(nodes)}
    graph = SpikingGraph(named, tuple(pairwise(named)), DT, STEPS, ENCODING)
    return quantize(calibrate(rng, graph, on_grid=False))


def run_lava(graph: SpikingGraph, inputs: Array) -> tuple[Trace, dict[str, float]]:
    """Lava's trace, and the worker's times `build_seconds` and `run_seconds`."""
    plan = lower(graph)
    with job_folder(plan, inputs, "fixed") as job:
        write_plan(job.folder / "plan.npz", plan)
        prefix = job.shared_memory_prefix
        result = run_worker(lava_python(), job.folder, prefix, Patience())
        return read_trace(job), result


def start_emulator(graph: SpikingGraph, inputs: Array) -> tuple[Emulator, float]:
    """A warmed-up emulator, and the seconds that its start took."""
    started = time.perf_counter()
    emulator = Emulator.of(lower(graph), graph.steps)
    emulator.run(inputs[:, :CHUNK])
    return emulator, time.perf_counter() - started


def run_emulator(emulator: Emulator, inputs: Array, *, hidden: bool) -> float:
    """The seconds for all inputs.

    Args:
        emulator: warmed up.
        inputs: [T, B, *input shape].
        hidden: whether to record every spike and membrane, or only the readout's.
    """
    started = time.perf_counter()
    for first in range(0, inputs.shape[1], CHUNK):
        emulator.run(inputs[:, first : first + CHUNK], hidden=hidden)
    return time.perf_counter() - started


def compare(
    make: Callable[[np.random.Generator], SpikingGraph],
    pictures: Array,
    lava_samples: int,
    samples: int,
) -> dict[str, Any]:
    """The results of both on one network."""
    graph = make(np.random.default_rng(0))
    inputs = ENCODING.encode(pictures[:samples], STEPS)
    few = inputs[:, :lava_samples]
    trace, lava = run_lava(graph, few)
    expected = LoihiEmulator().run(graph, few)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)
    emulator, start = start_emulator(graph, inputs)
    times: dict[str, list[float]] = {"lava": [], "emulator": [], "all_recorded": []}
    for _ in range(REPEATS):
        times["lava"].append(run_lava(graph, few)[1]["run_seconds"])
        times["emulator"].append(run_emulator(emulator, inputs, hidden=False))
        times["all_recorded"].append(run_emulator(emulator, inputs, hidden=True))
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    each = middle["lava"] / lava_samples
    ours, recorded = middle["emulator"] / samples, middle["all_recorded"] / samples
    return {
        "network": make.__doc__,
        "rates": {name: round(rate, 3) for name, rate in expected.rates().items()},
        "compared_neuron_steps": graph.neuron_count() * STEPS * lava_samples,
        "lava_samples": lava_samples,
        "lava_start_seconds": lava["seconds"] - lava["run_seconds"],
        "lava_run_seconds": times["lava"],
        "lava_ms_per_sample": each * 1e3,
        "emulator_samples": samples,
        "emulator_start_seconds": start,
        "emulator_run_seconds": times["emulator"],
        "emulator_ms_per_sample": ours * 1e3,
        "emulator_samples_per_second": 1 / ours,
        "emulator_run_seconds_all_recorded": times["all_recorded"],
        "emulator_ms_per_sample_all_recorded": recorded * 1e3,
        "ratio": each / ours,
        "ratio_all_recorded": each / recorded,
    }


def student(run: Path | None) -> SpikingGraph:
    """The demo's student: of a run directory, or a new one of its size."""
    if run is not None:
        return Subject.open(run).graph
    torch.manual_seed(0)
    plan = blueprint("resnet", SHAPE, CLASSES, StudentConfig().options)
    return quantize(to_graph(build(plan, 4).eval(), ENCODING))


def demo(run: Path | None, pictures: Array) -> dict[str, Any]:
    """The emulator's seconds for all test images, with everything recorded."""
    graph = student(run)
    encoding = graph.encoding or ENCODING
    inputs = encoding.encode(pictures, graph.steps)
    emulator, start = start_emulator(graph, inputs)
    return {
        "network": "fresh student" if run is None else f"student of {run.name}",
        "neurons": graph.neuron_count(),
        "steps": graph.steps,
        "images": len(pictures),
        "start_seconds": start,
        "run_seconds": run_emulator(emulator, inputs, hidden=True),
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    keep_freed_memory()
    pictures = load("fashion-mnist").images
    document = {
        "setup": "Sparse, streamed back to back, no probes, start-up excluded",
        "steps": STEPS,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "mlp": compare(mlp, pictures, 100, 10_000),
        "conv": compare(conv, pictures, 4, 400),
        "demo": demo(options.run, pictures),
    }
    print(json.dumps(document, indent=2))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
