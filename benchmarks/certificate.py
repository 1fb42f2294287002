"""How many of the networks that the certificate refuses are exact for every input.

    python benchmarks/certificate.py [--networks N] [--seed N] [--out FILE]

Draws tiny networks whose inputs are so few that all of them can be run: at most 2^10
spike trains each. A refused network is a false refusal if Norse, ONNX Runtime and the
chip's emulator give the membranes of the exact reference for all of them. Prints a
table and writes benchmarks/results/certificate.json, or FILE.
"""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from stars.errors import StarsError
from stars.files.writing import write_json
from stars.graph import reference
from stars.graph.nodes import LIF, Affine, CubaLIF, Input, Integrator, Node, Output
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import Certificate, certify
from stars.grid.rewrite import with_truncating_decay
from targets import table

RESULTS = Path(__file__).parent / "results" / "certificate.json"
TARGETS = ("norse", "onnx", "loihi")
BITS = 10  # of the inputs of all steps together


def drawn(seed: int) -> SpikingGraph:
    """A network with one or two populations of one or two neurons.

    Weights and thresholds have random widths, so that every bound is met at times.
    """
    rng = np.random.default_rng(seed)
    size, steps = int(rng.integers(1, 3)), int(rng.choice([2, 3, 5, 8, 10]))
    inputs = max(1, min(2, BITS // steps))
    dt = 2.0**-10
    nodes: dict[str, Node] = {"in": Input((inputs,))}
    width = inputs
    for layer in range(int(rng.integers(1, 3))):
        exponent = int(rng.integers(0, 9))
        spread = rng.integers(0, exponent + 1, (size, width))
        weight = np.ldexp(rng.integers(-127, 128, (size, width)), spread)
        bias = rng.integers(-4095, 4096, size) * (rng.random() < 0.5)
        one = np.ones(size)
        j, i = (int(rng.choice([1, 1, 2, 3, 4])) for _ in range(2))
        level = one * float(rng.integers(1, 2 ** int(rng.integers(4, 17))))
        if rng.random() < 0.3:
            bias = 0 * bias
            neuron: Node = CubaLIF(
                dt * 2**i * one,
                dt * 2**j * one,
                one * 2.0**i,
                0 * one,
                one * 2.0**j,
                level,
                0 * one,
            )
        else:
            neuron = LIF(dt * 2**j * one, one * 2.0**j, 0 * one, level, 0 * one)
        nodes |= {
            f"map{layer}": Affine(weight.astype(float), bias.astype(float)),
            f"neuron{layer}": neuron,
        }
        width = size
    nodes["fc"] = Affine(np.eye(2, width), np.zeros(2))
    nodes |= {"sum": Integrator(np.full(2, 1 / dt)), "out": Output()}
    order = list(nodes)
    graph = SpikingGraph(nodes, tuple(pairwise(order)), dt, steps)
    return with_truncating_decay(graph) if rng.random() < 0.3 else graph


def every_input(graph: SpikingGraph) -> np.ndarray:
    """All spike trains, [T, 2^(T inputs), inputs]."""
    (inputs,) = graph.shapes[graph.input]
    rows = np.array(list(product((0.0, 1.0), repeat=graph.steps * inputs)))
    return rows.reshape(len(rows), graph.steps, inputs).swapaxes(0, 1)


def differing(graph: SpikingGraph) -> tuple[bool, bool]:
    """Whether any spike, and whether any membrane, differs on any target."""
    inputs = every_input(graph)
    desired = reference.run(graph, inputs)
    spikes = membranes = False
    for name in TARGETS:
        actual = table.load(name).run(graph, inputs)
        spikes |= any((actual.spikes[n] != v).any() for n, v in desired.spikes.items())
        membranes |= any(
            (actual.membranes[n] != v).any() for n, v in desired.membranes.items()
        )
    return spikes, membranes


def kind(certificate: Certificate) -> str:
    """The kinds of a certificate's breaks, in one label."""
    return " and ".join(sorted({found.kind for found in certificate.breaks}))


def main() -> None:
    """Draw the networks, run them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    rows: dict[str, Counter[str]] = {}
    for seed in range(options.seed, options.seed + options.networks):
        try:
            graph = drawn(seed)
            certificate = certify(graph)
        except StarsError:
            counts["invalid"] += 1
            continue
        if any(found.kind == "plan" for found in certificate.breaks):
            counts["no integer plan"] += 1
            continue
        spikes, membranes = differing(graph)
        counts["certified"] += certificate.ok
        if certificate.ok:
            counts["certified and different"] += spikes or membranes
            continue
        row = rows.setdefault(kind(certificate), Counter())
        row["refused"] += 1
        row["spikes exact"] += not spikes
        row["spikes proved"] += certificate.spike_steps >= graph.steps
        counts["proved and different"] += (
            spikes and certificate.spike_steps >= graph.steps
        )
        row["false"] += not membranes
    write_json(
        options.out,
        {
            "schema": "stars.benchmark.certificate/1",
            "networks": options.networks,
            "seed": options.seed,
            "counts": dict(counts),
            "refused": {name: dict(row) for name, row in sorted(rows.items())},
        },
    )
    for name, count in counts.items():
        print(f"{count:7} {name}")
    columns = ("refused", "false", "spikes exact", "spikes proved")
    print("  ".join(columns), " bound")
    for name, row in sorted(rows.items()):
        print("  ".join(f"{row[c]:{len(c)}}" for c in columns), f" {name}")


if __name__ == "__main__":
    main()
