"""Metadata that NIR lacks: written into a NIR graph and read back here.

The entry `stars_format` marks a file of this toolchain. Without it, nothing below is
read. The group `stars` holds the others, so that no entry of another tool has their
names. Files of format 3 and less have no such group.

version                       of the distribution that wrote it
time_unit                     "s": dt and every time constant are in seconds
dt, steps                     seconds per step; T, the number of steps of one input
reset                         the discrete-time rule of every spiking neuron
order                         names of the nodes in the order of declaration (JSON)
encoding                      how images become the input; empty if unknown
delayed_edges                 edges that deliver the value of the previous step, by the
                              rule of `stars.graph.delays` (JSON; only with a cycle)
text                          the graph's own metadata (JSON)
stars/k (of each LIF node)    dt / tau as exact ratios (JSON)
stars/membrane_step (of some LIF, CubaLIF)
                              volts; the decay truncates to multiples of it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import nir
import numpy as np

from stars.errors import FormatError, GraphError
from stars.files.json_toml import parse_json
from stars.graph.encoding import Encoding, from_entries, to_entries
from stars.graph.nodes import LI, LIF
from stars.graph.spiking_graph import SpikingGraph

Number = TypeVar("Number", int, float)

FORMAT = 4  # of the metadata; readers refuse larger numbers
GROUP, GROUPED = "stars", 4  # where the entries are, from this format on
RESET = "to v_reset, in the step in which v > v_threshold"

# nir raises these on damaged or foreign trees: it checks by assert and by indexing.
UNREADABLE = (
    ArithmeticError,
    RuntimeError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)


def metadata(graph: SpikingGraph) -> dict[str, Any]:
    """The metadata of a graph that NIR itself cannot hold."""
    entries = {
        "version": own_version(),
        "time_unit": "s",
        "dt": float(graph.dt),
        "steps": int(graph.steps),
        "reset": RESET,
        "order": json.dumps(list(graph.nodes)),
        "text": json.dumps(dict(graph.metadata)),
        "encoding": {} if graph.encoding is None else encoding(graph.encoding),
        **delayed(graph),
    }
    return {"stars_format": FORMAT, GROUP: entries}


def encoding(images: Encoding) -> dict[str, Any]:
    """The encoding as values that HDF5 can hold."""
    entries = to_entries(images)
    return {k: np.array(v) if isinstance(v, tuple) else v for k, v in entries.items()}


def delayed(graph: SpikingGraph) -> dict[str, str]:
    """The delayed edges as metadata; empty without a cycle."""
    edges = sorted(graph.delayed)
    return {"delayed_edges": json.dumps(edges)} if edges else {}


def own_version() -> str:
    """Version of this distribution, or "unknown" if it is not installed."""
    try:
        return version("stars-snn")
    except PackageNotFoundError:
        return "unknown"


def decay_ratios(dt: float, node: LIF | LI) -> list[str]:
    """The distinct k = dt / tau of a population as exact ratios, sorted."""
    taus = np.unique(node.tau)
    return sorted({str(Fraction(dt) / Fraction(float(tau))) for tau in taus})


class Metadata:
    """The metadata of a NIR graph; another tool's graph has none of the entries."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = entries
        self.ours = "stars_format" in entries
        self.grouped = False
        if not self.ours:
            return
        form = self._get("stars_format", int)
        if form > FORMAT:
            raise FormatError(
                f"its format is {form}, of a newer version of stars-snn; this version"
                f" reads up to {FORMAT}: update stars-snn"
            )
        if form >= GROUPED:
            self.entries, self.grouped = self._get(GROUP, dict), True
        for key, expected in (("time_unit", "s"), ("reset", RESET)):
            if self._get(key, str) != expected:
                raise FormatError(
                    f"metadata {key!r} is {self.entries[key]!r}, expected {expected!r}"
                )

    def dt(self, given: float | None) -> float:
        """Seconds per step: the file's, or `given` if the file has none."""
        if not self.ours:
            return needed(given, "dt", "seconds a step", "--dt")
        own: float = self._get("dt", float)
        if given is not None and given != own:
            raise FormatError(f"dt is {own} s in the file, but {given} s was passed")
        return own

    def of_node(self, node: nir.NIRNode) -> Mapping[str, Any]:
        """Our own entries of one node; another tool's entries never count."""
        if not self.ours:
            return {}
        entries = node.metadata.get(GROUP, {}) if self.grouped else node.metadata
        return entries if isinstance(entries, Mapping) else {}

    def steps(self, given: int | None) -> int:
        """T: `given`, or the file's if it is None."""
        if given is not None or not self.ours:
            return needed(given, "steps", "T", "--steps")
        own: int = self._get("steps", int)
        return own

    def order(self, graph: nir.NIRGraph) -> list[str]:
        """Names of the nodes in the order of declaration."""
        if not self.ours:
            return list(graph.nodes)
        order = self._json("order", list)
        if sorted(order) != sorted(graph.nodes):
            raise FormatError(
                f"metadata 'order' names {sorted(order)}, nodes are"
                f" {sorted(graph.nodes)}"
            )
        return [str(name) for name in order]

    def text(self) -> dict[str, str]:
        """The graph's own metadata; for a foreign file, its text entries."""
        if not self.ours:
            return {str(k): v for k, v in self.entries.items() if isinstance(v, str)}
        return {str(k): str(v) for k, v in self._json("text", dict).items()}

    def encoding(self) -> Encoding | None:
        """The encoding; None if the file has none."""
        entries = self.entries.get("encoding", {}) if self.ours else {}
        if not entries:
            return None
        try:
            return from_entries({k: np.asarray(v).tolist() for k, v in entries.items()})
        except (GraphError, *UNREADABLE) as error:
            raise FormatError(
                f"metadata 'encoding' cannot be read ({type(error).__name__}: {error})"
            ) from error

    def check_delayed(self, graph: SpikingGraph) -> None:
        """Raise if the file's delayed edges are not those of the rule.

        Raises:
            FormatError: the file was changed, or written with another rule.
        """
        if not self.ours:
            return
        found = delayed(graph).get("delayed_edges", "[]")
        if parse_json(found) != parse_json(self.entries.get("delayed_edges", "[]")):
            raise FormatError(
                f"metadata 'delayed_edges' is {self.entries.get('delayed_edges')}, but"
                f" the graph has {found}; nodes or edges were changed after the export"
            )

    def _get(self, key: str, kind: Callable[[Any], Any]) -> Any:
        try:
            return kind(self.entries[key])
        except UNREADABLE as error:
            raise FormatError(f"metadata {key!r} is missing or damaged") from error

    def _json(self, key: str, kind: type) -> Any:
        value = self._get(key, parse_json)
        if not isinstance(value, kind):
            raise FormatError(f"metadata {key!r} holds no {kind.__name__}")
        return value


def needed(given: Number | None, name: str, what: str, flag: str) -> Number:
    """`given`; raises with the flag that sets it if it is None."""
    if given is None:
        raise FormatError(
            f"the file does not say {name} ({what}), and it is never guessed;"
            f" pass {flag} on the command line or {name}= in Python"
        )
    return given
