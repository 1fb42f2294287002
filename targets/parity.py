"""Run one file on several targets and compare every layer with the reference.

Inputs go through in chunks: the reference and each target run on a chunk, the traces
are compared and dropped, so that any number of images fits in memory. A target that
returns something else than was asked for is an error, never a pass; a mismatch is a
result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stars import reference
from stars.errors import ConfigError, DataError, TargetError
from stars.files import atomic
from stars.graph import SpikingGraph
from stars.nodes import Array
from stars.trace import Trace
from targets.base import Target
from targets.compare import Comparison, Divergence, NodeComparison, compare
from targets.inputs import Inputs
from targets.reference_cpu import ReferenceTarget

__all__ = [
    "TOLERANCES",
    "Comparison",
    "Divergence",
    "NodeComparison",
    "ParityReport",
    "TargetReport",
    "compare",
    "run_parity",
]

SCHEMA = "stars.parity/1"
RATES = (0.01, 0.60)  # spikes per neuron and step within which zeros mean something


@dataclass(frozen=True)
class Tolerance:
    """Mismatches that a target may have, over all that was compared, and why."""

    spikes: int
    membranes: int
    reason: str


EXACT = Tolerance(0, 0, "every target equals the reference unless a row says otherwise")
TOLERANCES: Mapping[str, Tolerance] = {
    "reference": Tolerance(0, 0, "it is the definition"),
    "student": Tolerance(0, 0, "float32 sums of integers below 2^24 are exact"),
    "norse": Tolerance(0, 0, "float32 sums of integers below 2^24 are exact"),
    "loihi": Tolerance(0, 0, "nothing is truncated while the certificate holds"),
    "lava-float": Tolerance(0, 0, "float64 sums of integers below 2^53 are exact"),
    "lava-fixed": Tolerance(0, 0, "nothing is truncated while the certificate holds"),
}


@dataclass(frozen=True)
class TargetReport:
    """What one target did.

    Args:
        name: of the target.
        comparison: with the reference.
        seconds: that its runs took; comparing is not in it.
        substituted: whether it ran another network than the reference, on purpose.
    """

    name: str
    comparison: Comparison
    seconds: float
    substituted: bool

    @property
    def ok(self) -> bool:
        """Whether it stays within its tolerance, which is zero."""
        allowed = TOLERANCES.get(self.name, EXACT)
        return (
            self.comparison.spike_mismatches <= allowed.spikes
            and self.comparison.membrane_mismatches <= allowed.membranes
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.comparison
        return {
            "name": self.name,
            "ok": self.ok,
            "images": found.images,
            "neuron_steps": found.neuron_steps,
            "spike_mismatches": found.spike_mismatches,
            "membrane_mismatches": found.membrane_mismatches,
            "membrane_steps": found.membrane_steps,
            "decisions_agree": found.decisions_agree,
            "seconds": round(self.seconds, 3),
            "substituted": self.substituted,
            "first_divergence": None if found.first is None else asdict(found.first),
            "layers": [asdict(node) for node in found.nodes],
        }


@dataclass(frozen=True)
class ParityReport:
    """What all targets did.

    Args:
        images, steps, neurons: of the longest comparison; T; with the readout's.
        targets: in the order in which they were given.
        rates: mean spikes per neuron and step of each layer, in the reference.
        skipped: targets that cannot run here, with the reason.
        certificate: what was proved before anything ran, as plain values.
    """

    images: int
    steps: int
    neurons: int
    targets: tuple[TargetReport, ...]
    rates: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether every target equals the reference."""
        return all(target.ok for target in self.targets)

    @property
    def rates_outside(self) -> tuple[str, ...]:
        """Layers that are so silent or so busy that zero mismatches say little."""
        low, high = RATES
        return tuple(n for n, rate in self.rates.items() if not low <= rate <= high)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the field "schema" names their meaning."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "images": self.images,
            "steps": self.steps,
            "neurons": self.neurons,
            "targets": [target.to_json() for target in self.targets],
            "rates": dict(self.rates),
            "rates_outside": list(self.rates_outside),
            "skipped": dict(self.skipped),
            "certificate": None if self.certificate is None else dict(self.certificate),
        }


@dataclass
class Lane:
    """One target on its way through the chunks."""

    target: Target
    graph: SpikingGraph
    images: int
    substituted: bool
    seconds: float = 0.0
    comparison: Comparison | None = None

    @property
    def is_truth(self) -> bool:
        """Whether it would only repeat the run that it is compared with."""
        return isinstance(self.target, ReferenceTarget) and not self.substituted

    def run(self, inputs: Array) -> Trace:
        """The target's trace; the time that it took is added."""
        started = time.perf_counter()
        trace = self.target.run(self.graph, inputs)
        self.seconds += time.perf_counter() - started
        return trace

    def add(self, found: Comparison) -> None:
        """Add the comparison of one more chunk."""
        before = self.comparison
        self.comparison = found if before is None else before.plus(found)

    def report(self, graph: SpikingGraph) -> TargetReport:
        """The result, once every neuron-step is accounted for.

        Raises:
            TargetError: some are missing.
        """
        expected = self.images * graph.steps * graph.neuron_count()
        found = self.comparison
        if found is None or found.neuron_steps != expected:
            raise TargetError(
                f"target '{self.target.name}': compared"
                f" {0 if found is None else found.neuron_steps} neuron-steps, expected"
                f" {expected} = {self.images} images x {graph.steps} steps x"
                f" {graph.neuron_count()} neurons"
            )
        return TargetReport(self.target.name, found, self.seconds, self.substituted)


Progress = Callable[[str, int, int], None]  # target, images done, images in all


def run_parity(
    graph: SpikingGraph,
    inputs: Inputs,
    targets: Sequence[Target],
    *,
    limits: Mapping[str, int] | None = None,
    substitutes: Mapping[str, SpikingGraph] | None = None,
    dump: Path | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run every target on `graph` and compare it with the reference.

    Args:
        graph: as read from the file that ships.
        inputs: all of them are run, in chunks.
        targets: available ones.
        limits: most images of a target, by its name.
        substitutes: another network of the same layers for a target, by its name: a
            comparison that must fail, which shows that it can.
        dump: folder for all traces, DIR/<target>/<first image>.npz; the reference's
            are in DIR/desired. Written chunk by chunk.
        progress: called after each chunk of each target.

    Raises:
        ConfigError: no target, no image, a name that is not among the targets, or a
            substitute with other layers.
        TargetError: a target failed, or returned something else than was asked for.
    """
    lanes = make_lanes(graph, len(inputs), targets, limits or {}, substitutes or {})
    spike_counts = dict.fromkeys(graph.spiking, 0)
    images = max(lane.images for lane in lanes)
    for start, stop in chunks(lanes):
        x = inputs.take(start, stop)
        started = time.perf_counter()
        desired = reference.run(graph, x)
        seconds = time.perf_counter() - started
        for name, spikes in desired.spikes.items():
            spike_counts[name] += int(np.count_nonzero(spikes))
        write_dump(dump, "desired", start, desired)
        for lane in lanes:
            if lane.images >= stop:
                advance(lane, graph, desired, x, start, dump)
                lane.seconds += seconds if lane.is_truth else 0.0
                if progress is not None:
                    progress(lane.target.name, stop, lane.images)
    each = images * graph.steps
    return ParityReport(
        images=images,
        steps=graph.steps,
        neurons=graph.neuron_count(),
        targets=tuple(lane.report(graph) for lane in lanes),
        rates={n: c / (each * size(graph, n)) for n, c in spike_counts.items()},
    )


def advance(
    lane: Lane,
    graph: SpikingGraph,
    desired: Trace,
    inputs: Array,
    start: int,
    dump: Path | None,
) -> None:
    """Run one target on one chunk, compare, count.

    Raises:
        TargetError: it returned something else than was asked for.
    """
    if lane.is_truth:
        lane.add(compare(desired, desired, first_sample=start))
        return
    actual = lane.run(inputs)
    write_dump(dump, lane.target.name, start, actual)
    try:
        lane.add(compare(actual, desired, graph=graph, first_sample=start))
    except DataError as error:
        raise TargetError(f"target '{lane.target.name}': {error}") from error


def make_lanes(
    graph: SpikingGraph,
    available: int,
    targets: Sequence[Target],
    limits: Mapping[str, int],
    substitutes: Mapping[str, SpikingGraph],
) -> list[Lane]:
    """One lane per target, after everything that was asked for was checked.

    Raises:
        ConfigError: no target, no image, a name that is not among the targets, or a
            substitute with other layers.
    """
    names = [target.name for target in targets]
    if unknown := (set(substitutes) | set(limits)) - set(names):
        raise ConfigError(f"no target {sorted(unknown)} in this run; it has {names}")
    if len(set(names)) != len(names):
        raise ConfigError(f"a target is named twice: {names}")
    lanes = []
    for target in targets:
        images = min(available, limits.get(target.name, available))
        if images < 1:
            raise ConfigError(
                f"target '{target.name}': {images} images; give 1 or more"
            )
        other = substitutes.get(target.name)
        if other is not None:
            check_substitute(target.name, other, graph)
        lanes.append(Lane(target, other or graph, images, other is not None))
    if all(lane.is_truth for lane in lanes):
        raise ConfigError(
            f"nothing to compare with the reference: the targets are {names}"
        )
    return lanes


def check_substitute(name: str, other: SpikingGraph, graph: SpikingGraph) -> None:
    """Refuse a substitute whose trace could not be compared.

    Raises:
        ConfigError: other layers, another input or another T.
    """
    differs = [
        f"{what} {a}, expected {b}"
        for what, a, b in (
            ("layers", layers(other), layers(graph)),
            ("input", other.shapes[other.input], graph.shapes[graph.input]),
            ("steps", other.steps, graph.steps),
        )
        if a != b
    ]
    if differs:
        raise ConfigError(f"substitute for target '{name}': has " + "; ".join(differs))


def layers(graph: SpikingGraph) -> dict[str, tuple[int, ...]]:
    """Shape of each neuron node."""
    return {name: graph.shapes[name] for name in graph.neurons}


def chunks(lanes: Sequence[Lane]) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive chunks that every lane on its way takes at once."""
    start = 0
    while active := [lane for lane in lanes if lane.images > start]:
        size = min(lane.target.chunk for lane in active)
        stop = min(start + size, *(lane.images for lane in active))
        yield start, stop
        start = stop


def size(graph: SpikingGraph, name: str) -> int:
    """Number of neurons of a node."""
    return int(np.prod(graph.shapes[name]))


def write_dump(folder: Path | None, name: str, start: int, trace: Trace) -> None:
    """Write one trace as DIR/<name>/<first image>.npz; nothing without a folder."""
    if folder is None:
        return
    arrays: dict[str, Any] = {f"spikes/{n}": v for n, v in trace.spikes.items()}
    arrays |= {f"membranes/{n}": v for n, v in trace.membranes.items()}
    with atomic(folder / name / f"{start:06d}.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
