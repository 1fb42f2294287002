"""plan.npz: an IntegerPlan on disk, readable with numpy alone (1.26 or later).

An .npz without pickled objects. Arrays, with i counting
populations and c counting connections, both in the order of the header:

    header        0-d text, JSON:
                    {"format": "stars.plan", "version": 1, "steps": T,
                     "input": {"name", "shape", "exponent", "graded"},
                     "populations": [{"name", "shape", "spiking", "exponent",
                       "decay_shift", "threshold", "bias_exponent", "latency",
                       "offset"}, ...],
                     "connections": [{"source", "target", "shape", "shift",
                       "delay"}, ...]}
                  decay_shift and threshold are null for a readout
    input_low     int64 [N input]; least integer of each input value
    input_high    int64 [N input]; largest
    bias_{i}      int64 [N]; units of 2^exponent volts a step
    weights_{c}   int32 [entries], -127..127
    columns_{c}   int64 [entries]
    rows_{c}      int64 [N target + 1]; the three are compressed rows:
                  scipy.sparse.csr_array((weights, columns, rows), shape=shape)

On a chip, or in Lava fixed_pt:

    weights 2 w with weight_exp = shift - 1      dv = 4096 >> decay_shift, or 0
    vth = threshold                              du = 4095
    bias_mant = (bias << 6) >> bias_exponent     bias_exp = bias_exponent
    membrane in volts = v 2^(exponent - 6) + offset

Populations are flat, the last axis of their shape fastest.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.errors import FormatError
from stars.files import atomic
from stars.plan import (
    BIAS_EXPONENTS,
    SHIFT_LIMIT,
    WEIGHT_LIMIT,
    Connection,
    IntegerPlan,
    Population,
)

FORMAT = "stars.plan"
VERSION = 1
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)

Arrays = dict[str, NDArray[Any]]


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
    fields = [
        "name",
        "shape",
        "spiking",
        "exponent",
        "decay_shift",
        "threshold",
        "bias_exponent",
    ]
    fields += ["latency", "offset"]
    return {
        "format": FORMAT,
        "version": VERSION,
        "steps": plan.steps,
        "input": {
            "name": plan.input_name,
            "shape": plan.input_shape,
            "exponent": plan.input_exponent,
            "graded": plan.input_graded,
        },
        "populations": [{f: getattr(p, f) for f in fields} for p in plan.populations],
        "connections": [
            {
                "source": c.source,
                "target": c.target,
                "shape": c.weights.shape,
                "shift": c.shift,
                "delay": c.delay,
            }
            for c in plan.connections
        ],
    }


def read_plan(path: Path) -> IntegerPlan:
    """The plan in `path`.

    Raises:
        FormatError: not there, not a plan, damaged, or of a newer version.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if "header" not in file.files:
                raise FormatError(f"'{path}' is not a plan: it has no header")
            header = json.loads(str(file["header"]))
            check_header(header, path)
            plan = plan_of(header, {name: file[name] for name in file.files})
    except FileNotFoundError as error:
        raise FormatError(f"'{path}' does not exist") from error
    except FormatError:
        raise
    except (*DAMAGE, zlib.error) as error:
        raise FormatError(f"'{path}' is not a plan, or is damaged: {error}") from error
    wrong = faults(plan)
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
    if header.get("version") != VERSION:
        raise FormatError(
            f"'{path}' is a plan of version {header.get('version')!r}; this program"
            f" reads version {VERSION}: export again, or install a newer stars-snn"
        )


def plan_of(header: dict[str, Any], arrays: Arrays) -> IntegerPlan:
    """The plan that a header and its arrays describe."""
    populations = tuple(
        Population(**{**p, "shape": tuple(p["shape"]), "bias": arrays[f"bias_{i}"]})
        for i, p in enumerate(header["populations"])
    )
    connections = []
    for c, values in enumerate(header["connections"]):
        triple = (arrays[f"weights_{c}"], arrays[f"columns_{c}"], arrays[f"rows_{c}"])
        matrix = csr_array(triple, shape=tuple(values.pop("shape")))
        matrix.check_format(full_check=True)
        connections.append(Connection(weights=matrix, **values))
    return IntegerPlan(
        input_name=header["input"]["name"],
        input_shape=tuple(header["input"]["shape"]),
        input_exponent=header["input"]["exponent"],
        input_low=arrays["input_low"],
        input_high=arrays["input_high"],
        populations=populations,
        connections=tuple(connections),
        steps=header["steps"],
    )


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
    for c in plan.connections:
        expected = (sizes.get(c.target), sizes.get(c.source))
        if c.weights.shape != expected or not 0 <= c.shift <= SHIFT_LIMIT:
            found.append(f"connection {c.source!r} -> {c.target!r} does not fit")
        if np.abs(c.weights.data).max(initial=0) > WEIGHT_LIMIT:
            found.append(f"weights of {c.source!r} -> {c.target!r} exceed 8 bits")
    return found
