"""Milliseconds per call of one student in ONNX Runtime and torch, on the same cores.

    python benchmarks/onnx_runtime.py [--threads N]

Prints a table and writes benchmarks/results/onnx_runtime.json. The network is a new
student of the demo's size; its weights do not change the time. In torch it is the
module of the distillation, without gradients, with Norse's loop or the compiled loop.
torch computes the first layer once, because the image is held; the files compute it at
every step. Compare only the ratios; absolute times depend on the machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # noqa: TID253 - this benchmark measures it
import torch

from export.to_onnx import write
from stars.config.models import StudentConfig
from stars.graph.encoding import DirectEncoding
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.quantization import quantize
from stars.networks.architectures import blueprint
from stars.networks.lif import Backend
from stars.networks.network import Network
from stars.networks.student import build, to_graph
from targets.simulators.onnx_runtime import WEIGHTS_ONCE

RESULTS = Path(__file__).parent / "results" / "onnx_runtime.json"
SHAPE, CLASSES, OPTIONS = (1, 28, 28), 10, StudentConfig().options
ENCODING = DirectEncoding((0.286,), (0.353,))
BASELINE = "norse-eager"
REPEATS = 15

Call = Callable[[], Any]


def student(steps: int, backend: Backend = "norse-eager") -> Network:
    """A new student for T steps."""
    torch.manual_seed(0)
    plan = blueprint("resnet", SHAPE, CLASSES, OPTIONS)
    return build(plan, steps, backend=backend).eval()


def network(steps: int) -> SpikingGraph:
    """The student as a graph on the grid, for T steps."""
    graph = quantize(to_graph(student(4), ENCODING))
    return dataclasses.replace(graph, steps=steps)


def torch_call(backend: Backend, images: torch.Tensor, steps: int) -> Call:
    """A call of the student's module."""
    module = student(steps, backend)

    def call() -> object:
        with torch.inference_mode():
            return module(images)

    return call


def onnx_call(
    graph: SpikingGraph, form: str, images: torch.Tensor, threads: int
) -> Call:
    """A call of the exported file, from the initial state."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*WEIGHTS_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        write(graph, path, form=form)
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    arrays = {
        f"state/{name}": graph.neuron(name).initial(len(images)).astype(np.float32)
        for name in graph.neurons
    }
    shape = (graph.steps, *images.shape)
    arrays["input"] = np.ascontiguousarray(np.broadcast_to(images.numpy(), shape))
    return lambda: session.run(None, arrays)


def milliseconds(call: Call) -> float:
    """The median time of a call, after two warm-up calls."""
    call(), call()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def measure(steps: int, batch: int, threads: int) -> dict[str, float]:
    """The milliseconds of each implementation, by name."""
    graph = network(steps)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (batch, *SHAPE), dtype=np.uint8)
    encoded = ENCODING.encode(pixels, 1)[0].astype(np.float32)
    images = torch.from_numpy(encoded)
    calls = {
        "norse-eager": torch_call("norse-eager", images, steps),
        "fused": torch_call("fused", images, steps),
        "onnx scan": onnx_call(graph, "scan", images, threads),
        "onnx unroll": onnx_call(graph, "unroll", images, threads),
    }
    return {name: milliseconds(call) for name, call in calls.items()}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for steps in (4, 16):
        for batch in (1, 64):
            found = measure(steps, batch, options.threads)
            for name, value in found.items():
                row = {
                    "steps": steps,
                    "batch": batch,
                    "name": name,
                    "milliseconds": round(value, 3),
                    "times_norse_eager": round(found[BASELINE] / value, 2),
                }
                rows.append(row)
                print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    RESULTS.parent.mkdir(exist_ok=True)
    document = {
        "network": f"fresh resnet {OPTIONS}",
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
