"""Images per second of every available target on one network, in one process.

    python benchmarks/target_speed.py [--run RUN] [--images N] [--lava-images N]

Prints a table and writes benchmarks/results/targets.json. The network is the student of
RUN on the grid, or a random residual graph on the grid. Compare only the ratios;
absolute times depend on the machine. Lava's time includes its start-up, because a user
waits for it; the worker's result holds its time per step.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

from stars.data.images import load
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph, random_inputs
from targets import table
from targets.base import Target
from targets.subject import Subject

RESULTS = Path(__file__).parent / "results" / "targets.json"
BASELINE = "lava-fixed"
REPEATS = 3


def workload(run: Path | None, images: int) -> tuple[SpikingGraph, Array]:
    """The graph and its inputs [T, images, ...]."""
    if run is None:
        rng = np.random.default_rng(0)
        graph = random_graph(rng, kind="shortcut")
        return graph, random_inputs(rng, graph, images)
    graph = Subject.open(run).graph
    if graph.encoding is None:
        raise SystemExit(f"'{run}' holds no encoding of images")
    pictures = load("fashion-mnist").first(images).images
    return graph, graph.encoding.encode(pictures, graph.steps)


def rate(target: Target, graph: SpikingGraph, inputs: Array) -> float:
    """Images per second in the target's chunks, the best of several repetitions."""
    count = inputs.shape[1]
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for start in range(0, count, target.chunk):
            target.run(graph, inputs[:, start : start + target.chunk])
        seconds.append(time.perf_counter() - started)
    return count / min(seconds)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--lava-images", type=int, default=32)
    options = parser.parse_args()
    graph, inputs = workload(options.run, max(options.images, options.lava_images))
    rates: dict[str, float] = {}
    for name in table.names():
        target = table.load(name)
        problem = target.unavailable()
        if problem is not None:
            print(f"{name}: not measured, {problem}")
            continue
        few = options.lava_images if name.startswith("lava") else options.images
        rates[name] = rate(target, graph, inputs[:, :few])
    baseline = rates.get(BASELINE)
    rows = {
        name: {
            "images_per_second": round(value, 2),
            f"ratio_to_{BASELINE}": baseline and round(value / baseline, 2),
        }
        for name, value in rates.items()
    }
    for name, row in rows.items():
        print(f"{name:12}", *(f"{key} {value}" for key, value in row.items()))
    RESULTS.parent.mkdir(exist_ok=True)
    document = {
        "network": "random shortcut graph" if options.run is None else options.run.name,
        "neurons": graph.neuron_count(),
        "steps": graph.steps,
        "images": options.images,
        "lava_images": options.lava_images,
        "processor": platform.processor() or platform.machine(),
        "targets": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
