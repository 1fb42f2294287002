"""The values of the C templates: names, numbers, arrays and calls as text."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from importlib.metadata import version
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from export.c.links import Link
from export.c.program import SUMS, Layer, Program
from stars.graph.encoding import (
    WHITE,
    DirectEncoding,
    Encoding,
    LatencyEncoding,
    PoissonEncoding,
)
from stars.grid.plan import STATE_SHIFT

STACK = 1024  # bytes without the runs of an event kernel; the tests measure it
RUN_BYTES = 24  # of a tap: a row and a column
LINE = 24  # numbers of a line
ENCODINGS = {
    DirectEncoding: "direct",
    LatencyEncoding: "latency",
    PoissonEncoding: "poisson",
}


def text_values(
    program: Program, encoding: Encoding | None, name: str
) -> dict[str, Any]:
    """The values of all templates but golden.h, and without README's verdict."""
    plan, layers = program.plan, program.layers
    links = [
        (f"link_{i}_{k}", layer, link)
        for i, layer in enumerate(layers)
        for k, link in enumerate(layer.links)
    ]
    kinds = [
        kind_values(layers, kind)
        for kind in SUMS
        if any(i.sums == kind for i in layers)
    ]
    arrays = [
        {"type": kind, "name": f"{place}_{end}", "size": len(v), "text": numbers(v)}
        for place, _, link in links
        for end, (kind, v) in link.arrays.items()
    ]
    arrays += [
        {
            "type": "int32_t",
            "name": f"bias_{i}",
            "size": len(v.bias),
            "text": numbers(v.bias),
        }
        for i, v in enumerate(layers)
    ]
    readout, used = plan.populations[-1], {link.kernel for _, _, link in links}
    index = {kind for _, _, link in links for kind, _ in link.arrays.values()}
    own = sum(layer.ram for layer in layers)
    taps = most_taps(program)
    return {
        "title": "A spiking network",
        "version": version("stars-snn"),
        "name": name,
        "upper": name.upper(),
        "steps": plan.steps,
        "inputs": len(plan.input_low),
        "outputs": layers[-1].size,
        "graded": plan.input_graded,
        "exponent": readout.exponent - STATE_SHIFT,
        "offset": f"{readout.offset!r}",
        "pixels": " in the order row, column, channel"
        if len(readout.shape) == 3
        else "",
        "taps": taps,
        "uses_sparse": "sparse" in used,
        "uses_event": "event" in used,
        "uses_dense": "dense" in used,
        "index_type": "uint32_t" if "uint16_t" not in index else "uint16_t",
        "arrays": arrays,
        "links": [
            link_values(place, link, graded=plan.input_graded)
            for place, _, link in links
        ],
        "kinds": kinds,
        "layers": [layer_values(program, i) for i in range(len(layers))],
        "state": program.state,
        "sums": [(SUMS[kind], kind, size) for kind, size in program.sums.items()],
        **encoding_values(encoding, plan.steps),
        "shared": program.ram - own,
        "flash": sum(layer.flash for layer in layers),
        "ram": program.ram,
        "stack": stack_bytes(program),
    }


def most_taps(program: Program) -> int:
    """Taps of the largest kernel along one axis."""
    links = (link for layer in program.layers for link in layer.links)
    return max([1, *(axis[2] for link in links for axis in link.axes)])


def stack_bytes(program: Program) -> int:
    """A bound of the stack that a step needs."""
    return STACK + RUN_BYTES * most_taps(program)


def kind_values(layers: tuple[Layer, ...], kind: str) -> dict[str, Any]:
    """What the kernels of one type of sums need."""
    own = [layer for layer in layers if layer.sums == kind]
    used = {link.kernel for layer in own for link in layer.links}
    return {
        "name": kind,
        "sum": SUMS[kind],
        "current": own[0].current,
        "none": none_shift(kind),
        "up": 61 if kind == "i64" else 24,
        "memories": sorted({layer.memory for layer in own}),
        **{kernel: kernel in used for kernel in ("event", "dense", "sparse")},
    }


def none_shift(kind: str) -> int:
    """The shift that stands for no decay: it moves every bit out."""
    return 63 if kind == "i64" else 31


def link_values(place: str, link: Link, *, graded: bool) -> dict[str, Any]:
    """One connection in the template."""
    if not link.axes:
        sources, scale = link.numbers
        return {"name": place, "sparse": True, "sources": sources, "scale": scale}
    y, x = link.axes
    *_, scale, _, groups = link.numbers
    four = 1 if link.source >= 0 or not graded else 2 if scale == 1 else 0
    values = *link.numbers, 0 if groups else four
    return {"name": place, "sparse": False, "numbers": values, "y": y, "x": x}


def layer_values(program: Program, i: int) -> dict[str, Any]:
    """One layer in the templates."""
    layer = program.layers[i]
    population = layer.population
    kind, threshold = layer.sums, population.threshold
    calls: dict[bool, list[str]] = {True: [], False: []}
    for k, link in enumerate(layer.links):
        source = "input"
        if link.source >= 0:
            source = f"state->spikes + {program.layers[link.source].slot}"
        calls[layer.held and link.source < 0].append(
            f"{link.kernel}_{kind}(&link_{i}_{k}, {source}"
        )
    state = f"state->current_{i}, " if layer.memory else ""
    fire = "fire_current_" if layer.memory else "fire_"
    return {
        "size": layer.size,
        "period": len(layer.bias),
        "scale": layer.scale,
        "decay": none_shift(kind)
        if population.decay_shift is None
        else population.decay_shift,
        "current_decay": population.current_decay_shift,
        "threshold": "INT32_MAX" if threshold is None else threshold << STATE_SHIFT,
        "comment": f"layer {i}: {plain(population.name)}",
        "label": plain(population.name),
        "cell": plain(population.name),
        "kernels": ", ".join(
            link.kernel + (", held" if layer.held and link.source < 0 else "")
            for link in layer.links
        ),
        "held": layer.held,
        "held_calls": calls[True],
        "calls": calls[False],
        "sum": SUMS[kind],
        "kind": kind,
        "fire": f"{fire}{kind}(&neurons_{i}, sums, {state}state->membrane_{i},"
        f" state->spikes + {layer.slot});",
        "slot": layer.slot,
        "flash": layer.flash,
        "ram": layer.ram,
    }


def plain(text: str) -> str:
    """A text of which only harmless characters are left, for comments and strings."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)


def encoding_values(encoding: Encoding | None, steps: int) -> dict[str, Any]:
    """What encode.c needs."""
    if encoding is None:
        return {"encoding": None}
    values: dict[str, Any] = {"encoding": ENCODINGS[type(encoding)]}
    if isinstance(encoding, DirectEncoding):
        levels = encoding.levels()
        rows = [", ".join(map(str, row)) for row in levels]
        return {**values, "channels": len(levels), "levels": rows}
    if isinstance(encoding, LatencyEncoding):
        pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 1, 256)
        spikes = encoding.encode(pixels, steps).reshape(steps, 256)
        at = np.where(spikes.any(axis=0), spikes.argmax(axis=0), -1)
        return {**values, "levels": numbers(at)}
    poisson = cast("PoissonEncoding", encoding)
    chance = poisson.rate * np.arange(256) / WHITE  # as its `encode` computes it
    limits = [f"{math.ceil(Fraction(float(c)) * 2**53)}U" for c in chance]
    return {
        **values,
        "seed": poisson.seed,
        "levels": ",\n".join(f"    {limit}" for limit in limits),
        "sha_constants": ",\n".join(f"    {n}U" for n in sha256_constants()),
    }


def sha256_constants() -> list[int]:
    """Fractions of the cube roots of the first 64 primes, 32 bits (FIPS 180-4)."""
    primes = [n for n in range(2, 312) if all(n % k for k in range(2, n))]
    return [cube_root(n << 96) & 0xFFFFFFFF for n in primes]


def cube_root(value: int) -> int:
    """The largest integer whose cube is at most `value`."""
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle - 1)
    return low


def numbers(values: NDArray[Any]) -> str:
    """The lines of an initializer."""
    texts = list(map(str, values.tolist()))
    lines = (texts[i : i + LINE] for i in range(0, len(texts), LINE))
    return ",\n".join("    " + ", ".join(line) for line in lines)
