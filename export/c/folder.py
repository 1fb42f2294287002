"""The C folder: sources of a network, its encoding, and a test of both.

NAME.h, NAME.c   the network: C99 without heap, libm or floating point
encode.c         the input of an image, if the graph states an encoding
golden.h         inputs, and hashes of the reference's results for them
self_test.c      runs the golden inputs; prints PASS or the first divergence
CMakeLists.txt   builds a library and the test
README.md        use, flash and RAM of each layer
manifest.json    a description, and the SHA-256 of every other file
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from export.c.links import channels_last
from export.c.program import Kernels, Layer, Program, program_of
from export.c.values import ENCODINGS, text_values
from export.golden import golden_images, golden_inputs
from export.to_lava import replaced_folder
from stars.errors import ConfigError, UnsupportedNodeError
from stars.files.writing import sha256, write_json, write_text
from stars.graph import reference
from stars.graph.encoding import Encoding
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.certificate import certify
from stars.grid.lowering import lower
from stars.grid.plan import STATE_SHIFT, IntegerPlan
from stars.grid.plan_file import header_of

FORMAT = "stars.c"
VERSION = 1
NAME = "network"
HASH_FACTOR = 16777619
KERNELS = ("auto", "event", "dense")
TAKEN = ("encode", "self_test", "golden")  # names of other files


def write(
    graph: SpikingGraph,
    folder: Path,
    *,
    name: str = NAME,
    rates: Mapping[str, float] | None = None,
    kernels: Kernels = "auto",
    images: NDArray[np.uint8] | None = None,
) -> dict[str, Any]:
    """Write the C sources of an on-grid graph to `folder`, all or nothing.

    Args:
        graph: on the grid.
        folder: created, or replaced if it holds C sources already.
        name: of the network's files and functions, an identifier of C.
        rates: firing rates by layer, which choose the kernels; None measures them on
            the golden inputs.
        kernels: "event" or "dense" forces one kind of kernel.
        images: for the golden inputs, [B, C, H, W]; the first eight are used. None
            draws eight inputs from a fixed seed.

    Returns:
        The manifest.

    Raises:
        ConfigError: the name, a rate's layer or the kernels are not allowed.
        GraphError: the graph is not on the grid; the message says where.
        LimitError: its integers do not fit; holds every violation.
        UnsupportedNodeError: a node without integer form, or an unknown encoding.
        DataError: the folder holds something else or cannot be written, or the images
            do not fit the graph.
    """
    check_options(graph, name, rates, kernels)
    plan = lower(graph)  # first, so that nothing is written if it does not fit
    inputs = golden_inputs(graph, images)
    trace = reference.run(graph, inputs)
    if rates is None:
        rates = {
            **trace.rates(),
            graph.input: float(np.count_nonzero(inputs)) / inputs.size,
        }
    program = program_of(plan, rates, kernels)
    certificate = certify(graph)
    golden = golden_values(graph, program, inputs, trace, images)
    with replaced_folder(
        folder, marker="golden.h", kind="a folder of C sources"
    ) as temporary:
        values = write_network(program, graph.encoding, temporary, name)
        values |= {**golden, "verdict": certificate.verdict}
        for file in ("golden.h", "self_test.c", "CMakeLists.txt", "README.md"):
            write_template(file, values, temporary / file)
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "stars": version("stars-snn"),
            "name": name,
            "plan": plan_digest(plan),
            "steps": graph.steps,
            "neurons": graph.neuron_count(),
            "kernels": {
                layer.population.name: [link.kernel for link in layer.links]
                for layer in program.layers
            },
            "flash_bytes": values["flash"],
            "ram_bytes": values["ram"],
            "stack_bytes": values["stack"],
            "certificate": certificate.to_json(),
            "files": {p.name: sha256(p) for p in sorted(temporary.iterdir())},
        }
        write_json(temporary / "manifest.json", manifest)
    return manifest


def write_network(
    program: Program, encoding: Encoding | None, folder: Path, name: str
) -> dict[str, Any]:
    """Write NAME.h, NAME.c and encode.c to a folder; returns the templates' values."""
    values = text_values(program, encoding, name)
    write_template("network.h", values, folder / f"{name}.h")
    write_template("network.c", values, folder / f"{name}.c")
    if encoding is not None:
        write_template("encode.c", values, folder / "encode.c")
    return values


def write_template(template: str, values: Mapping[str, Any], path: Path) -> None:
    """Write a template with these values to a file."""
    write_text(path, templates().get_template(template).render(values))


def check_options(
    graph: SpikingGraph,
    name: str = NAME,
    rates: Mapping[str, float] | None = None,
    kernels: str = "auto",
) -> None:
    """Refuse options and encodings that have no C, all at once.

    Raises:
        ConfigError: the name, a rate's layer or the kernels are not allowed.
        UnsupportedNodeError: the encoding is unknown.
    """
    wrong = []
    if not is_identifier(name):
        wrong.append(
            f"name {name!r}: expected an identifier of C, such as {NAME!r}: at most 48"
            f" letters, digits and underscores, first a letter, and none of {TAKEN}"
        )
    if kernels not in KERNELS:
        wrong.append(f"kernels {kernels!r}: there are {', '.join(KERNELS)}")
    known = {graph.input, *graph.neurons}
    if unknown := sorted(set(rates or {}) - known):
        wrong.append(f"rates of {unknown}: the layers are {sorted(known)}")
    if bad := {k: r for k, r in (rates or {}).items() if not 0 <= r <= 1}:
        wrong.append(f"rates {bad}: expected numbers from 0 to 1")
    if wrong:
        raise ConfigError("C format: " + "; ".join(wrong))
    if graph.encoding is not None and type(graph.encoding) not in ENCODINGS:
        raise UnsupportedNodeError(
            f"C format: no C for encoding {type(graph.encoding).__name__!r}; there is"
            f" C for {', '.join(kind.__name__ for kind in ENCODINGS)}"
        )


def is_identifier(name: object) -> bool:
    """Whether a text may name C functions, and files in one folder."""
    whole = isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w{0,47}", name, re.ASCII)
    return bool(whole) and str(name).lower() not in TAKEN


def plan_digest(plan: IntegerPlan) -> str:
    """SHA-256 of a plan's numbers: sources are of a graph if both plans have it."""
    digest = hashlib.sha256(json.dumps(header_of(plan)).encode())
    arrays = [plan.input_low, plan.input_high, *(p.bias for p in plan.populations)]
    for c in plan.connections:
        matrix = c.weights.sorted_indices()
        arrays += [matrix.data, matrix.indices, matrix.indptr]
    for array in arrays:
        digest.update(array.astype(np.int64).tobytes())
    return digest.hexdigest()


@cache
def templates() -> jinja2.Environment:
    """The templates of this package."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("export.c"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def golden_values(
    graph: SpikingGraph,
    program: Program,
    inputs: Array,
    trace: Trace,
    images: NDArray[np.uint8] | None,
) -> dict[str, Any]:
    """The inputs and results of golden.h."""
    count = inputs.shape[1]
    given: NDArray[Any] = inputs.swapaxes(0, 1)
    if graph.encoding is not None:
        given = golden_images(graph, images)
    rows = given.reshape(count, -1)
    hashes = np.stack(
        [layer_hashes(layer, trace) for layer in program.layers], axis=2
    ).reshape(count, -1)
    last = stored(program.layers[-1], trace.membranes[trace.readout])[-1]
    return {
        "samples": count,
        "values": rows.shape[1],
        "golden_inputs": [
            ", ".join(map(str, row)) for row in rows.astype(int).tolist()
        ],
        "classes": ", ".join(map(str, last.argmax(axis=1))),
        "hashes": [", ".join(f"{h}U" for h in row) for row in hashes.tolist()],
    }


def stored(layer: Layer, values: NDArray[Any]) -> NDArray[Any]:
    """Values [T, B, *shape] of a layer in its stored order, [T, B, N]."""
    return values.reshape(*values.shape[:2], -1)[
        ..., channels_last(layer.population.shape)
    ]


def layer_hashes(layer: Layer, trace: Trace) -> NDArray[np.uint32]:
    """The hash of each input and step, [B, T]; see self_test.c."""
    population = layer.population
    volts = stored(layer, trace.membranes[population.name]) - population.offset
    steps = np.rint(np.ldexp(volts, STATE_SHIFT - population.exponent))
    values = 2 * steps.astype(np.int64)
    if population.spiking:
        values += stored(layer, trace.spikes[population.name])
    powers = np.full(layer.size, HASH_FACTOR, np.uint32)
    powers[-1] = 1
    powers = np.multiply.accumulate(powers[::-1], dtype=np.uint32)[::-1]
    terms = values.astype(np.uint32) * powers
    return np.asarray(terms.sum(axis=2, dtype=np.uint32).T)
