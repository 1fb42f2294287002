"""Compares our synaptic operations with NeuroBench's effective ones.

    python -m venv nb && nb/bin/pip install neurobench . && \
        nb/bin/python benchmarks/neurobench_operations.py

Prints a table of Linear and Conv2d layers, writes it to
benchmarks/results/neurobench_operations.json, and fails if the counts differ.
NeuroBench is no dependency of this project, because it needs further packages (tonic,
snntorch). Without it, nothing is compared or written.
"""

from __future__ import annotations

import itertools
import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stars.graph import reference
from stars.graph.nodes import Affine, Array, Conv2d, Input, Integrator, Map, Output
from stars.graph.spiking_graph import SpikingGraph
from targets.energy_model.counts import count

RESULTS = Path(__file__).parent / "results" / "neurobench_operations.json"
STEPS, IMAGES, RATE = 4, 8, 0.1


def cases(rng: np.random.Generator) -> dict[str, tuple[Map, tuple[int, ...]]]:
    """By name, a layer with small integer weights, and the shape of its input."""

    def weights(*shape: int, kept: float = 1.0) -> Array:
        drawn = rng.integers(1, 127, shape) * rng.choice([-1, 1], shape)
        return np.where(rng.random(shape) < kept, drawn, 0).astype(np.float64)

    image = (16, 28, 28)
    return {
        "linear 256 -> 64": (Affine(weights(64, 256), np.ones(64)), (256,)),
        "linear, half of the weights 0": (
            Affine(weights(64, 256, kept=0.5), np.ones(64)),
            (256,),
        ),
        "conv 3 x 3, padded": (
            Conv2d(weights(32, 16, 3, 3), np.ones(32), padding=1),
            image,
        ),
        "conv 3 x 3, stride 2": (
            Conv2d(weights(32, 16, 3, 3), np.ones(32), 2, 1),
            image,
        ),
        "conv 3 x 3, two groups": (
            Conv2d(weights(32, 8, 3, 3), np.ones(32), 1, 1, groups=2),
            image,
        ),
        "conv 5 x 5, dilated, half of the weights 0": (
            Conv2d(weights(8, 16, 5, 5, kept=0.5), np.ones(8), 1, 2, 2),
            image,
        ),
    }


def ours(node: Map, spikes: Array) -> int:
    """The number of operations as `stars energy` counts them."""
    shape = spikes.shape[2:]
    size = node.output_shape(shape)
    names = ("input", "layer", "readout", "output")
    nodes = (Input(shape), node, Integrator(np.ones(size)), Output())
    edges = tuple(itertools.pairwise(names))
    graph = SpikingGraph(dict(zip(names, nodes, strict=True)), edges, 1.0, STEPS)
    counts = count(graph, [(spikes, reference.run(graph, spikes))])
    return counts.operations("AC")


def theirs(node: Map, spikes: Array) -> tuple[int, int]:
    """The (effective, dense) operations as NeuroBench counts them."""
    import torch  # noqa: PLC0415 - in NeuroBench's environment
    from neurobench.metrics.utils.layers import (  # noqa: PLC0415
        single_layer_MACs,
    )

    layer: torch.nn.Module
    if isinstance(node, Conv2d):
        channels = node.weight.shape[1] * node.groups
        layer = torch.nn.Conv2d(
            channels,
            node.weight.shape[0],
            node.kernel,
            node.stride,
            node.padding,
            node.dilation,
            node.groups,
        )
    else:
        layer = torch.nn.Linear(*reversed(node.weight.shape))
    layer.weight.data = torch.tensor(node.weight, dtype=torch.float32)
    found = [0.0, 0.0]
    with torch.no_grad():
        for step in torch.from_numpy(spikes).float():
            for i, total in enumerate((False, True)):
                found[i] += float(single_layer_MACs(step, layer, total=total)[0])
    return round(found[0]), round(found[1])


def main() -> None:
    """Count with both, print and write the results."""
    if find_spec("neurobench") is None:
        print(f"neurobench is not installed; {RESULTS.name} is unchanged")
        return
    rng = np.random.default_rng(0)
    rows = []
    for name, (node, shape) in cases(rng).items():
        spikes = (rng.random((STEPS, IMAGES, *shape)) < RATE).astype(np.float64)
        effective, dense = theirs(node, spikes)
        mine = ours(node, spikes)
        rows.append(
            {"layer": name, "ours": mine, "neurobench": effective, "dense": dense}
        )
        print(f"{name:44} {mine:12,} {effective:12,} of {dense:,} dense")
    versions = {n: version(n) for n in ("neurobench", "torch", "numpy")}
    result = {"steps": STEPS, "images": IMAGES, "rate": RATE, "versions": versions}
    RESULTS.write_text(json.dumps({**result, "layers": rows}, indent=2) + "\n")
    if any(row["ours"] != row["neurobench"] for row in rows):
        sys.exit("the counts differ")


if __name__ == "__main__":
    main()
