"""Run one file on several targets and compare every layer with the reference.

Inputs go through in chunks: the reference and each target run on a chunk, the traces
are compared and dropped, so that any number of images fits in memory. A target that
returns something else than was asked for is an error, never a pass; a mismatch is a
result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stars import reference
from stars.errors import (
    ConfigError,
    DataError,
    GraphError,
    LimitError,
    MissingDependencyError,
    TargetError,
    UnsupportedNodeError,
)
from stars.files import atomic
from stars.graph import SpikingGraph
from stars.nodes import Array
from stars.trace import Trace
from targets import table
from targets.base import Target
from targets.compare import Comparison, Divergence, NodeComparison, compare
from targets.inputs import Inputs
from targets.parity_report import TOLERANCES, ParityReport, TargetReport
from targets.reference_cpu import ReferenceTarget
from targets.student import StudentTarget

__all__ = [
    "TOLERANCES",
    "Comparison",
    "Divergence",
    "NodeComparison",
    "ParityReport",
    "TargetReport",
    "choose_targets",
    "compare",
    "run_parity",
    "willing",
]

# What a target raises that has no way to run a graph, before it runs anything.
REFUSALS = (UnsupportedNodeError, GraphError, LimitError)


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
    substitutes: Mapping[str, SpikingGraph | Target] | None = None,
    dump: Path | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run every target on `graph` and compare it with the reference.

    Args:
        graph: as read from the file that ships.
        inputs: all of them are run, in chunks.
        targets: available ones.
        limits: most images of a target, by its name.
        substitutes: another network of the same layers for a target, by its name, or
            another target in its place: a comparison that must fail, which shows that
            it can.
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


def choose_targets(
    names: Sequence[str], own: Sequence[Target] = ()
) -> tuple[list[Target], dict[str, str]]:
    """(targets to run, those that cannot run here with the reason).

    Args:
        names: exactly these; all that there are when empty.
        own: targets that are in no table, such as the trained student of a run.

    Raises:
        ConfigError: a name that there is not.
        MissingDependencyError: a target that was named cannot run here.
    """
    extra = {target.name: target for target in own}
    known = [*extra, *(name for name in table.names() if name not in extra)]
    if unknown := set(names) - set(known):
        raise ConfigError(
            f"unknown target {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    chosen, skipped = [], {}
    for name in dict.fromkeys(names or known):
        target = extra[name] if name in extra else table.load(name)
        reason = target.unavailable()
        if reason is None:
            chosen.append(target)
        elif names:
            raise MissingDependencyError(f"target '{name}': {reason}")
        else:
            skipped[name] = reason
    return chosen, skipped


def willing(
    graph: SpikingGraph, inputs: Inputs, targets: Sequence[Target]
) -> tuple[list[Target], dict[str, str]]:
    """(targets that take the graph, the reason of each that refuses it).

    The first input is run on each, for only a target itself knows what it can express.

    Raises:
        UnsupportedNodeError: none but the reference takes it; with every reason.
        TargetError: a target failed.
    """
    takers, refused = [], {}
    for target in targets:
        try:
            target.run(graph, inputs.take(0, 1))
            takers.append(target)
        except REFUSALS as error:
            refused[target.name] = str(error)
    if refused and all(isinstance(target, ReferenceTarget) for target in takers):
        reasons = "\n".join(f"  {name}: {why}" for name, why in refused.items())
        raise UnsupportedNodeError(f"no target takes this network:\n{reasons}")
    return takers, refused


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
    substitutes: Mapping[str, SpikingGraph | Target],
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
        lanes.append(make_lane(graph, target, images, substitutes.get(target.name)))
    if all(lane.is_truth for lane in lanes):
        raise ConfigError(
            f"nothing to compare with the reference: the targets are {names}"
        )
    return lanes


def make_lane(
    graph: SpikingGraph,
    target: Target,
    images: int,
    other: SpikingGraph | Target | None,
) -> Lane:
    """A target on its own, or with its substitute.

    Raises:
        ConfigError: a substitute that has other layers, or would not be run at all.
    """
    if other is None:
        return Lane(target, graph, images, substituted=False)
    if not isinstance(other, SpikingGraph):
        return Lane(other, graph, images, substituted=True)
    if isinstance(target, StudentTarget):
        raise ConfigError(
            f"substitute for target '{target.name}': it runs its own weights, not a"
            " graph; give the weights of another student"
        )
    check_substitute(target.name, other, graph)
    return Lane(target, other, images, substituted=True)


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
