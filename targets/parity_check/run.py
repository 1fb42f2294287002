"""Run one network on several targets and compare every layer with the reference.

The reference and each target run chunk by chunk. The traces of a chunk are compared and
dropped, so any number of images fits in memory. A target that returns an incomplete or
wrong trace is an error, never a pass. A mismatch is a result, not an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stars.errors import (
    ConfigError,
    GraphError,
    LimitError,
    MissingDependencyError,
    UnsupportedNodeError,
    guess,
)
from stars.files.writing import atomic
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.lowering import input_violation
from targets import table
from targets.base import Target
from targets.inputs import Inputs
from targets.parity_check.lane import Lane, Options, chunks, make_lanes, truth_trace
from targets.parity_check.report import ParityReport
from targets.simulators.reference import ReferenceTarget

# A target raises one of these, before it runs anything, if it cannot run a graph.
REFUSALS = (UnsupportedNodeError, GraphError, LimitError)

Progress = Callable[[str, int, int], None]  # target, images done, all images


def run_parity(
    graph: SpikingGraph,
    inputs: Inputs,
    targets: Sequence[Target],
    options: Options | None = None,
    *,
    dump: Path | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """The comparison of every target on `graph` with the reference.

    Args:
        graph: as read from the exported file.
        inputs: all of them run, in chunks.
        targets: targets that can run here.
        options: see `Options`.
        dump: folder for all traces, DIR/<target>/<first image>.npz; the reference's
            are in DIR/desired. They are written chunk by chunk.
        progress: called after each chunk of each target.

    Raises:
        ConfigError: there is no target or no image, a target is unknown or listed
            twice, or a substitute has other layers.
        TargetError: a target failed, or returned an incomplete or wrong trace.
    """
    chosen = Options() if options is None else options
    truth = chosen.truth
    lanes = make_lanes(graph, len(inputs), targets, chosen)
    spike_counts = dict.fromkeys(graph.spiking, 0)
    images = max(lane.images for lane in lanes)
    violation: str | None = None
    for start, stop in chunks(lanes, truth.chunk):
        x = inputs.take(start, stop)
        violation = violation or input_violation(graph, x)
        started = time.perf_counter()
        desired = truth_trace(truth, graph, x)
        seconds = time.perf_counter() - started
        for name, spikes in desired.spikes.items():
            spike_counts[name] += int(np.count_nonzero(spikes))
        write_dump(dump, "desired", start, desired)
        for lane in lanes:
            if lane.images >= stop:
                advance(lane, desired, x, start, dump)
                lane.seconds += seconds if lane.is_truth else 0.0
                if progress is not None:
                    progress(lane.target.name, stop, lane.images)
    each = images * graph.steps
    return ParityReport(
        images=images,
        steps=graph.steps,
        neurons=graph.neuron_count(),
        targets=tuple(lane.report() for lane in lanes),
        rates={n: c / (each * size(graph, n)) for n, c in spike_counts.items()},
        against=truth.name,
        input_violation=violation,
    )


def choose_targets(
    names: Sequence[str], own: Sequence[Target] = ()
) -> tuple[list[Target], dict[str, str]]:
    """(targets to run, reasons why others cannot run here by name).

    Args:
        names: the targets to choose; empty chooses all.
        own: targets of the subject: they are not in the table, as a run's trained
            student, or replace one in it.

    Raises:
        ConfigError: a name is unknown.
        MissingDependencyError: a named target cannot run here.
    """
    extra = {target.name: target for target in own}
    listed = table.names()
    known = [*(name for name in extra if name not in listed), *listed]
    if unknown := set(names) - set(known):
        raise ConfigError(
            f"unknown target {', '.join(sorted(unknown))}"
            f"{guess(min(unknown), known)}; there are {', '.join(known)}"
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


def supporting_targets(
    graph: SpikingGraph, inputs: Inputs, targets: Sequence[Target]
) -> tuple[list[Target], dict[str, str]]:
    """(targets that support the graph, reasons why others do not by name).

    Each target runs the first input, because only the target knows what it supports.

    Raises:
        UnsupportedNodeError: no target but the reference supports the graph; the
            message gives every reason.
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
        raise UnsupportedNodeError(f"no target supports this network:\n{reasons}")
    return takers, refused


def advance(
    lane: Lane, desired: Trace, inputs: Array, start: int, dump: Path | None
) -> None:
    """Run one target on one chunk, free and state-forced, and compare it.

    Raises:
        TargetError: it returned an incomplete or wrong trace.
    """
    if lane.is_truth:
        lane.compare_free(desired, desired, start)
        return
    actual = lane.simulate(inputs)
    write_dump(dump, lane.target.name, start, actual)
    lane.compare_free(actual, desired, start)
    lane.compare_forced(inputs, desired, start)


def size(graph: SpikingGraph, name: str) -> int:
    """The number of neurons of a node."""
    return int(np.prod(graph.shapes[name]))


def write_dump(folder: Path | None, name: str, start: int, trace: Trace) -> None:
    """Write one trace as DIR/<name>/<first image>.npz, if there is a folder."""
    if folder is None:
        return
    arrays: dict[str, Any] = {f"spikes/{n}": v for n, v in trace.spikes.items()}
    arrays |= {f"membranes/{n}": v for n, v in trace.membranes.items()}
    with atomic(folder / name / f"{start:06d}.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
