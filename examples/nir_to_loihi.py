"""Put a NIR file of another tool on Loihi's grid, and check it in the emulator.

The file is made here, with float weights and without dt, as other tools write it.

    python examples/nir_to_loihi.py
"""

from __future__ import annotations

import itertools

import nir
import numpy as np

import export
import stars
import targets

DT = 1e-4  # seconds a step: NIR files do not say it, so the reader must


def write_foreign_file(path: str) -> None:
    """A network of 12 inputs, 20 LIF neurons and 4 outputs."""
    rng = np.random.default_rng(0)
    ones, zeros = np.ones(20), np.zeros(20)
    nodes = {
        "input": nir.Input(np.array([12])),
        "weights": nir.Affine(rng.normal(size=(20, 12)), np.zeros(20)),
        "lif": nir.LIF(2 * DT * ones, ones, zeros, ones, zeros),
        "readout": nir.Affine(rng.normal(size=(4, 20)), np.zeros(4)),
        "sum": nir.I(np.full(4, 1 / DT)),
        "output": nir.Output(np.array([4])),
    }
    names = list(nodes)
    nir.write(path, nir.NIRGraph(nodes, list(itertools.pairwise(names))))


def main() -> None:
    """Read, quantize, prove, and compare with the float network."""
    write_foreign_file("foreign.nir")
    graph = export.read("foreign.nir", dt=DT, steps=7)
    on_grid = stars.quantize(graph)
    print("certificate:", stars.certify(on_grid).verdict)
    export.write(on_grid, "loihi.nir")
    export.write(on_grid, "lava_bundle")  # runs in plain Lava, without this package
    spikes = (np.random.default_rng(1).random((7, 64, 12)) < 0.4).astype(float)
    report = targets.parity("loihi.nir", spikes, on=["loihi", "norse"])
    print("exact on Loihi's arithmetic and on Norse:", report.ok)


if __name__ == "__main__":
    main()
