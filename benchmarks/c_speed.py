"""Milliseconds per image of compiled C, ONNX Runtime, eager Norse and the emulator.

    python benchmarks/c_speed.py [--json] [--student FILE.nir] [--images N]

One image at a time on one thread, T = 4 and 16, for an MLP 784-256-10 and the default
student. Writes benchmarks/results/c_speed.json, and prints it with --json. A figure is
the processor time of the best of several passes over the same images of Fashion-MNIST.
`mlp.ratio_to_onnx` and `student.ratio_to_onnx` say how many times as fast as ONNX
Runtime's Scan the C is, at T = 4. `floor` is the time to read all weights once. Compare
only the ratios: absolute times depend on the machine. Without FILE the student has the
default architecture and random weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.c.folder import write
from export.from_nir import read
from export.to_onnx import write as write_onnx
from stars.data.images import load
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import LIF, Affine, Flatten, Input, Integrator, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.grid.quantization import quantize
from stars.networks.architectures import blueprint
from stars.networks.student import build, to_graph
from stars.testing.random_graphs import calibrate
from targets.c.target import compiler
from targets.loihi.emulator import Emulator
from targets.simulators.norse_network import Network, exact_kernels
from targets.simulators.onnx_runtime import Program, open_file

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "c_speed.json"
SHAPE, CLASSES = (1, 28, 28), 10
OPTIONS = {"widths": [32, 64, 128], "depths": [1, 1, 1], "stem_stride": 1}
ENCODING = DirectEncoding((0.286,), (0.353,))
REPEATS = 5

Images = NDArray[np.uint8]


def mlp() -> SpikingGraph:
    """784-256-10 with random weights, at 12 to 35 % spikes."""
    rng, dt = np.random.default_rng(0), 2.0**-10
    nodes = {
        "input": Input(SHAPE),
        "flat": Flatten(),
        "fc0": Affine(rng.standard_normal((256, 784)), np.zeros(256)),
        "lif0": LIF.uniform((256,), tau=2 * dt),
        "fc1": Affine(rng.standard_normal((CLASSES, 256)), np.zeros(CLASSES)),
        "readout": Integrator(np.full(CLASSES, 1 / dt)),
        "output": Output(),
    }
    graph = SpikingGraph(nodes, tuple(pairwise(nodes)), dt, 4, ENCODING)
    return quantize(calibrate(rng, graph, on_grid=False))


def student(file: Path | None) -> SpikingGraph:
    """The network in a file, or one of the default architecture."""
    if file is not None:
        return read(file)
    torch.manual_seed(0)
    plan = blueprint("resnet", SHAPE, CLASSES, OPTIONS)
    return quantize(to_graph(build(plan, 4).eval(), ENCODING))


def seconds(run: Callable[[Images], Any], images: Images) -> float:
    """Processor seconds per image, the best of several passes."""
    run(images[:1])
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        for i in range(len(images)):
            run(images[i : i + 1])
        found.append(time.process_time() - started)
    return min(found) / len(images)


def c_seconds(graph: SpikingGraph, images: Images) -> dict[str, Any]:
    """Seconds of the C and of its floor, its classes, kernels and flash."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "c"
        manifest = write(graph, folder, images=images)
        sources = [folder / "network.c", folder / "encode.c", HERE / "c_speed.c"]
        command = [*compiler(), "-std=c99", "-O2", "-iquote", folder, *sources]
        subprocess.run([*command, "-o", folder / "speed"], check=True)
        arguments = [len(images), 5 * REPEATS, manifest["flash_bytes"]]
        done = subprocess.run(
            [folder / "speed", *map(str, arguments)],
            input=images.tobytes(),
            capture_output=True,
            check=True,
        )
    run, floor, *classes = done.stdout.split()
    return {
        "c": float(run),
        "floor": float(floor),
        "classes": [int(c) for c in classes],
        "kernels": manifest["kernels"],
        "flash_bytes": manifest["flash_bytes"],
        "ram_bytes": manifest["ram_bytes"],
    }


def measure(graph: SpikingGraph, images: Images) -> dict[str, Any]:
    """Milliseconds of each implementation, by name."""
    found = c_seconds(graph, images)
    steps = graph.steps

    def inputs(image: Images) -> Any:
        assert graph.encoding is not None  # noqa: S101 - both networks have one
        return graph.encoding.encode(image, steps)

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "network.onnx"
        write_onnx(graph, path, golden=False)
        session, entries = open_file(path, threads=1)
    onnx = Program(path, session, entries)
    emulator = Emulator.of(lower(graph), steps)
    with exact_kernels(), torch.inference_mode():
        norse = Network(graph)

        def run_norse(image: Images) -> object:
            x = torch.from_numpy(inputs(image).astype(np.float32))
            return norse.layer_by_layer(x, None)

        calls: dict[str, Callable[[Images], Any]] = {
            "onnx": lambda image: onnx.results(inputs(image), {}),
            "norse": run_norse,
            "emulator": lambda image: emulator.run(inputs(image), hidden=False),
        }
        times = {"c": found["c"], "floor": found["floor"]}
        times |= {name: seconds(call, images) for name, call in calls.items()}
    truth = emulator.run(inputs(images), hidden=False).decisions()
    if found["classes"] != truth.tolist():
        raise SystemExit("the C and the emulator disagree on a class")
    return {
        **{f"{name}_ms": round(value * 1e3, 4) for name, value in times.items()},
        "ratio_to_onnx": round(times["onnx"] / times["c"], 2),
        "ratio_to_norse": round(times["norse"] / times["c"], 2),
        "ratio_to_emulator": round(times["emulator"] / times["c"], 2),
        **{k: found[k] for k in ("kernels", "flash_bytes", "ram_bytes")},
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--student", type=Path)
    parser.add_argument("--images", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = load("fashion-mnist").first(options.images).images
    document: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "images": options.images,
    }
    for name, graph in (("mlp", mlp()), ("student", student(options.student))):
        rows = {t: measure(replace(graph, steps=t), images) for t in (4, 16)}
        document[name] = {
            "ratio_to_onnx": rows[4]["ratio_to_onnx"],
            "neurons": graph.neuron_count(),
            **{f"T{t}": row for t, row in rows.items()},
        }
        if not options.json:
            for t, row in rows.items():
                print(name, f"T {t}", *(f"{k} {v}" for k, v in row.items()), sep="  ")
    text = json.dumps(document, indent=2) + "\n"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")
    if options.json:
        print(text, end="")


if __name__ == "__main__":
    main()
