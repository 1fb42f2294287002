"""plan.npz: an IntegerPlan on disk, readable with numpy alone (1.26 or later).

An .npz without pickled objects. Arrays, with i counting
populations and c counting connections, both in the order of the header:

    header        0-d text, JSON:
                    {"format": "stars.plan", "version": 1 or 2, "steps": T,
                     "input": {"name", "shape", "exponent", "graded"},
                     "populations": [{"name", "shape", "spiking", "exponent",
                       "decay_shift", "threshold", "bias_exponent", "latency",
                       "offset", "current_decay_shift"}, ...],
                     "connections": [{"source", "target", "shape", "shift",
                       "delay", "convolution": {"source", "target", "kernel",
                       "stride", "padding", "dilation", "groups"}}, ...]}
                  decay_shift is null without leak, threshold for a readout;
                  current_decay_shift is there in version 2 only, which a plan has if
                  one of its currents has a memory; else it is 0. convolution is there
                  where the weights are exactly an unrolled convolution: shapes
                  (C, H, W) and (O, H', W'), the rest (vertical, horizontal)
    input_low     int64 [N input]; least integer of each input value
    input_high    int64 [N input]; largest
    bias_{i}      int64 [N]; units of 2^exponent volts a step
    weights_{c}   int32 [entries], -127..127
    columns_{c}   int64 [entries]
    rows_{c}      int64 [N target + 1]; the three are compressed rows:
                  scipy.sparse.csr_array((weights, columns, rows), shape=shape)

On a chip, or in Lava fixed_pt:

    weights 2 w with weight_exp = shift - 1      dv = 4096 >> decay_shift, or 0
    vth = threshold                              du = (4096 >> current_decay_shift) - 1
    bias_mant = (bias << 6) >> bias_exponent     bias_exp = bias_exponent
    membrane in volts = v 2^(exponent - 6) + offset

Populations are flat, the last axis of their shape fastest.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from scipy.sparse import csr_array
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from stars.errors import FormatError
from stars.files.json_toml import parse_json
from stars.files.npz import read_npz
from stars.files.writing import atomic
from stars.grid.convolution import Convolution, Geometry, convolution_of
from stars.grid.integer_neurons import CURRENT_SHIFTS
from stars.grid.plan import (
    BIAS_EXPONENTS,
    SHIFT_LIMIT,
    WEIGHT_LIMIT,
    Connection,
    IntegerPlan,
    Population,
)

FORMAT = "stars.plan"
VERSION = 2
PLAIN_VERSION = 1  # of a plan in which no current has a memory
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError)

Arrays = dict[str, NDArray[Any]]
Small = Annotated[int, Field(gt=-(2**31), lt=2**31)]
Size = Annotated[int, Field(ge=1, lt=2**31)]


class InputHeader(TypedDict):
    """How the file's header describes the input."""

    name: str
    shape: tuple[Size, ...]
    exponent: Small
    graded: bool


class PopulationHeader(TypedDict):
    """How it describes a population."""

    name: str
    shape: tuple[Size, ...]
    spiking: bool
    exponent: Small
    decay_shift: Small | None
    threshold: Small | None
    bias_exponent: Small
    latency: Small
    offset: float
    current_decay_shift: NotRequired[Small]


class ConvolutionHeader(TypedDict):
    """How it describes the geometry of a convolution."""

    source: tuple[Size, Size, Size]
    target: tuple[Size, Size, Size]
    kernel: tuple[Size, Size]
    stride: tuple[Size, Size]
    padding: tuple[Small, Small]
    dilation: tuple[Size, Size]
    groups: Size


class ConnectionHeader(TypedDict):
    """How it describes a connection."""

    source: str
    target: str
    shape: tuple[Size, Size]
    shift: Small
    delay: Small
    convolution: NotRequired[ConvolutionHeader]


class Header(TypedDict):
    """The file's header; `check_header` has seen to format and version."""

    steps: Size
    input: InputHeader
    populations: list[PopulationHeader]
    connections: list[ConnectionHeader]


HEADER = TypeAdapter(Header)


def write_plan(path: Path, plan: IntegerPlan) -> None:
    """Write `plan` to `path`, all or nothing; equal plans give equal bytes.

    Raises:
        DataError: the file cannot be written.
    """
    arrays: Arrays = {"input_low": plan.input_low, "input_high": plan.input_high}
    for i, population in enumerate(plan.populations):
        arrays[f"bias_{i}"] = population.bias
    for c, connection in enumerate(plan.connections):
        matrix = connection.weights
        arrays[f"weights_{c}"] = matrix.data.astype(np.int32)
        arrays[f"columns_{c}"] = matrix.indices.astype(np.int64)
        arrays[f"rows_{c}"] = matrix.indptr.astype(np.int64)
    header = np.array(json.dumps(header_of(plan)))
    with atomic(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, header=header, **arrays)  # type: ignore[arg-type]


def header_of(plan: IntegerPlan) -> dict[str, Any]:
    """All of a plan but its arrays, as JSON values."""
    return {
        "format": FORMAT,
        "version": version_of(plan),
        "steps": plan.steps,
        "input": {
            "name": plan.input_name,
            "shape": plan.input_shape,
            "exponent": plan.input_exponent,
            "graded": plan.input_graded,
        },
        "populations": [
            {name: getattr(p, name) for name in population_fields(plan)}
            for p in plan.populations
        ],
        "connections": [
            {
                "source": c.source,
                "target": c.target,
                "shape": c.weights.shape,
                "shift": c.shift,
                "delay": c.delay,
                **convolution_entry(c),
            }
            for c in plan.connections
        ],
    }


def convolution_entry(connection: Connection) -> dict[str, Any]:
    """The geometry of a connection's convolution, if it is one."""
    if connection.convolution is None:
        return {}
    return {"convolution": asdict(connection.convolution.geometry)}


def version_of(plan: IntegerPlan) -> int:
    """The least version that says all of a plan: older programs read what they can."""
    memory = any(p.current_decay_shift for p in plan.populations)
    return VERSION if memory else PLAIN_VERSION


def population_fields(plan: IntegerPlan) -> list[str]:
    """What the header says of each population."""
    plain = version_of(plan) == PLAIN_VERSION
    names = PopulationHeader.__annotations__
    return [name for name in names if not (plain and name == "current_decay_shift")]


def read_plan(path: Path) -> IntegerPlan:
    """The plan in `path`.

    Raises:
        FormatError: not there, not a plan, damaged, or of a newer version.
    """
    if not Path(path).is_file():
        raise FormatError(f"'{path}' does not exist")
    try:
        arrays = read_npz(Path(path))
    except FormatError as error:
        raise FormatError(f"not a plan, or damaged: {error}") from error
    if "header" not in arrays:
        raise FormatError(f"'{path}' is not a plan: it has no header")
    try:
        header = parse_json(str(arrays["header"]))
        check_header(header, path)
        plan = plan_of(HEADER.validate_json(str(arrays["header"]), strict=True), arrays)
        wrong = faults(plan)
    except FormatError:
        raise
    except DAMAGE as error:
        raise FormatError(f"'{path}' is not a plan, or is damaged: {error}") from error
    if wrong:
        raise FormatError(f"'{path}' is not a sound plan: " + "; ".join(wrong))
    return plan


def check_header(header: Any, path: Path) -> None:
    """Refuse another format and newer versions.

    Raises:
        FormatError: with what was found.
    """
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FormatError(f"'{path}' is not a plan: its header does not say {FORMAT!r}")
    if header.get("version") not in (PLAIN_VERSION, VERSION):
        raise FormatError(
            f"'{path}' is a plan of version {header.get('version')!r}; this program"
            f" reads versions {PLAIN_VERSION} and {VERSION}: export again, or install a"
            " newer stars-snn"
        )


def plan_of(header: Header, arrays: Arrays) -> IntegerPlan:
    """The plan that a header and its arrays describe."""
    populations = tuple(
        Population(**p, bias=arrays[f"bias_{i}"])
        for i, p in enumerate(header["populations"])
    )
    connections = []
    for i, c in enumerate(header["connections"]):
        triple = (arrays[f"weights_{i}"], arrays[f"columns_{i}"], arrays[f"rows_{i}"])
        check_rows(triple[2], len(triple[0]))
        matrix = csr_array(triple, shape=c["shape"])
        matrix.check_format(full_check=True)
        connections.append(
            Connection(
                source=c["source"],
                target=c["target"],
                weights=matrix,
                shift=c["shift"],
                delay=c["delay"],
                convolution=read_convolution(c, matrix),
            )
        )
    return IntegerPlan(
        input_name=header["input"]["name"],
        input_shape=header["input"]["shape"],
        input_exponent=header["input"]["exponent"],
        input_low=arrays["input_low"],
        input_high=arrays["input_high"],
        populations=populations,
        connections=tuple(connections),
        steps=header["steps"],
    )


def check_rows(rows: NDArray[Any], entries: int) -> None:
    """Refuse row starts that are out of order; scipy does not look if the last is 0.

    Raises:
        ValueError: they do not lead from 0 to the number of entries.
    """
    ends = rows.ndim == 1 and rows.size and (rows[0], rows[-1]) == (0, entries)
    if not ends or np.any(np.diff(rows) < 0):
        raise ValueError("the starts of the rows are out of order")


def read_convolution(
    header: ConnectionHeader, weights: csr_array
) -> Convolution | None:
    """The convolution in a connection's header, proven; None if it has none.

    Raises:
        FormatError: the weights are not that convolution.
    """
    said = header.get("convolution")
    if said is None:
        return None
    found = convolution_of(Geometry(**said), weights)
    if found is None:
        raise FormatError(
            f"connection {header['source']!r} -> {header['target']!r} is not the"
            " convolution that the plan's header describes; export the network again"
        )
    return found


def faults(plan: IntegerPlan) -> list[str]:
    """What contradicts itself or leaves the chip's ranges in a plan that was read."""
    size = math.prod(plan.input_shape)
    sizes = {plan.input_name: size}
    found = []
    if plan.input_low.shape != (size,) or plan.input_high.shape != (size,):
        found.append("the input's interval has another size than the input")
    for p in plan.populations:
        sizes[p.name] = math.prod(p.shape)
        if p.bias.shape != (sizes[p.name],) or p.bias.dtype != np.int64:
            found.append(f"the bias of {p.name!r} is {p.bias.dtype} {p.bias.shape}")
        if p.bias_exponent not in BIAS_EXPONENTS or (p.threshold is None) == p.spiking:
            found.append(f"population {p.name!r} has impossible parameters")
        if p.current_decay_shift not in CURRENT_SHIFTS:
            found.append(f"the current of {p.name!r} decays by no 12-bit fraction")
    for c in plan.connections:
        expected = (sizes.get(c.target), sizes.get(c.source))
        if c.weights.shape != expected or not 0 <= c.shift <= SHIFT_LIMIT:
            found.append(f"connection {c.source!r} -> {c.target!r} does not fit")
        if np.abs(c.weights.data).max(initial=0) > WEIGHT_LIMIT:
            found.append(f"weights of {c.source!r} -> {c.target!r} exceed 8 bits")
    return found + misshapen(plan)


def misshapen(plan: IntegerPlan) -> list[str]:
    """Faults of convolutions whose shapes are not those of their populations."""
    shapes = {plan.input_name: plan.input_shape}
    shapes |= {p.name: p.shape for p in plan.populations}
    found = []
    for c in plan.connections:
        if c.convolution is not None:
            geometry = c.convolution.geometry
            said = (geometry.source, geometry.target)
            if said != (shapes.get(c.source), shapes.get(c.target)):
                found.append(f"convolution {c.source!r} -> {c.target!r} does not fit")
    return found
