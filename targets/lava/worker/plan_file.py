"""Reading plan.npz: the integers that the worker builds from, and nothing else.

The format is told at the top of `stars/grid/plan_file.py`, which writes it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

FORMAT = "stars.plan"
VERSIONS = (1, 2)


@dataclass(frozen=True)
class Population:
    """One population; one unit is 2^exponent volts.

    See `stars.grid.plan.Population`.
    """

    name: str
    size: int
    exponent: int
    decay_shift: int | None
    threshold: int | None
    bias: np.ndarray
    bias_exponent: int
    current_decay_shift: int


@dataclass(frozen=True)
class Connection:
    """current[target] += (weights @ x[source]) << shift, `delay` steps later."""

    source: str
    target: str
    weights: csr_matrix
    shift: int
    delay: int


@dataclass(frozen=True)
class Plan:
    """The whole network; an input value is an integer times 2^input_exponent."""

    input_name: str
    input_size: int
    input_exponent: int
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]


def read_plan(path: Path) -> Plan:
    """The plan of `path`; ValueError when it is none, or of another version."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        if header["format"] != FORMAT or header["version"] not in VERSIONS:
            raise ValueError(
                f"{path} is {header['format']!r} of version {header['version']!r},"
                f" expected {FORMAT!r} of version {VERSIONS}"
            )
        populations = header["populations"]
        connections = header["connections"]
        return Plan(
            input_name=header["input"]["name"],
            input_size=math.prod(header["input"]["shape"]),
            input_exponent=header["input"]["exponent"],
            populations=tuple(_population(file, *p) for p in enumerate(populations)),
            connections=tuple(_connection(file, *c) for c in enumerate(connections)),
        )


def _population(file: Any, index: int, values: dict[str, Any]) -> Population:
    return Population(
        name=values["name"],
        size=math.prod(values["shape"]),
        exponent=values["exponent"],
        decay_shift=values["decay_shift"],
        threshold=values["threshold"],
        bias=file[f"bias_{index}"],
        bias_exponent=values["bias_exponent"],
        current_decay_shift=values.get("current_decay_shift", 0),
    )


def _connection(file: Any, index: int, values: dict[str, Any]) -> Connection:
    arrays = (file[f"{kind}_{index}"] for kind in ("weights", "columns", "rows"))
    return Connection(
        source=values["source"],
        target=values["target"],
        weights=csr_matrix(tuple(arrays), shape=tuple(values["shape"])),
        shift=values["shift"],
        delay=values["delay"],
    )
