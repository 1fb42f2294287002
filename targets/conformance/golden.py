"""The cases as files, written by `write` and read by `read_suite`.

cases.json   schema, dt and steps; by name: rule, source, and open, the readings
             with another output that the format leaves open
NAME.nir     the graph
NAME.npz     input and output [T, B, ...] of the network; spikes/NODE and
             membranes/NODE of each population; open/READING, an output
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
from numpy.typing import NDArray

from export.from_nir import read
from stars.errors import FormatError
from stars.files.npz import read_npz
from stars.files.writing import atomic, read_json, write_json
from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from targets.conformance.cases import CASES, DT, STEPS, Case
from targets.conformance.openings import OPENINGS

INDEX = "cases.json"
SCHEMA = "stars.conformance.cases/1"


@dataclass(frozen=True, eq=False)
class Golden:
    """One case as it is in the files.

    Args:
        rule, source: of the case.
        path: of the NIR file.
        inputs, output: [T, B, ...].
        openings: outputs of other readings that the format leaves open, by name.
    """

    rule: str
    source: str
    path: Path
    inputs: Array
    output: NDArray[Any]
    openings: Mapping[str, NDArray[Any]]


def write(folder: Path) -> int:
    """Write all cases into a folder; returns their number.

    Raises:
        DataError: the folder cannot be written.
    """
    about = {name: write_case(folder, name, case) for name, case in CASES.items()}
    index = {"schema": SCHEMA, "dt": DT, "steps": STEPS, "cases": about}
    write_json(folder / INDEX, index)
    return len(about)


def write_case(folder: Path, name: str, case: Case) -> dict[str, Any]:
    """Write the two files of a case; returns its entry in the index."""
    write_graph(folder / f"{name}.nir", case)
    graph = read(folder / f"{name}.nir", dt=DT, steps=STEPS)
    inputs = case.inputs(name)
    trace = reference.run(graph, inputs)
    output = output_of(graph, inputs)
    found = {f"open/{k}": v for k, v in open_outputs(graph, inputs, output).items()}
    arrays = {
        "input": inputs,
        "output": output,
        **{f"spikes/{n}": v for n, v in trace.spikes.items()},
        **{f"membranes/{n}": v for n, v in trace.membranes.items()},
        **found,
    }
    with atomic(folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    readings = [key.removeprefix("open/") for key in found]
    return {"rule": case.rule, "source": case.source, "open": readings}


def write_graph(path: Path, case: Case) -> None:
    """Write the graph of a case, with the parameters and fields that its rule wants."""
    with atomic(path) as temporary:
        nir.write(temporary, case.graph(), compression=None)
        with h5py.File(temporary, "a") as file:
            nodes = file["node/nodes"]
            drop_zero_resets(file)
            for (node, field), shape in (case.small or {}).items():
                value = float(nodes[node][field][()].flat[0])
                del nodes[node][field]
                nodes[node][field] = np.full(shape, value)
            for node, field in case.dropped:
                del nodes[node][field]


def drop_zero_resets(file: h5py.File) -> None:
    """Leave out each v_reset that is 0, its default: old versions of nir have none."""
    found: list[str] = []

    def keep(name: str, item: Any) -> None:
        if name.endswith("/v_reset") and not item[()].any():
            found.append(name)

    file.visititems(keep)
    for name in found:
        del file[name]


def output_of(graph: SpikingGraph, inputs: Array) -> NDArray[Any]:
    """Spikes or membranes of the node before the output, [T, B, ...]."""
    trace = reference.run(graph, inputs)
    shown = trace.spikes if graph.readout in trace.spikes else trace.membranes
    return shown[graph.readout]


def open_outputs(
    graph: SpikingGraph, inputs: Array, output: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Other outputs that the format allows, of one opening or of two together."""
    found: dict[str, NDArray[Any]] = {}
    for names in (*((n,) for n in OPENINGS), *itertools.combinations(OPENINGS, 2)):
        changed = graph
        for name in names:
            changed = OPENINGS[name](changed)
        other = output_of(changed, inputs)
        known = [output, *found.values()]
        if not any(np.array_equal(other, one) for one in known):
            found[", ".join(names)] = other
    return found


def read_suite(folder: Path) -> tuple[float, dict[str, Golden]]:
    """(dt in seconds, the cases by name) in a folder that `write` wrote.

    Raises:
        FormatError: it has no such files, or they are damaged.
    """
    index = read_json(folder / INDEX)
    if index.get("schema") != SCHEMA:
        raise FormatError(f"'{folder / INDEX}': expected the schema {SCHEMA}")
    cases = {}
    for name, entry in index["cases"].items():
        arrays = read_npz(folder / f"{name}.npz")
        cases[name] = Golden(
            entry["rule"],
            entry["source"],
            folder / f"{name}.nir",
            arrays["input"],
            arrays["output"],
            {key: arrays[f"open/{key}"] for key in entry["open"]},
        )
    return float(index["dt"]), cases
