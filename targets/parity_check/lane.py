"""Lane: one target that runs and is compared chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stars.errors import ConfigError, DataError, TargetError
from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from targets.base import Target
from targets.parity_check.comparison import Comparison, compare
from targets.parity_check.forced import FORCED, head
from targets.parity_check.report import (
    EXACT,
    TOLERANCES,
    NotForced,
    StateForced,
    TargetReport,
)
from targets.simulators.reference import ReferenceTarget
from targets.simulators.student import StudentTarget

FORCED_IMAGES = 32  # a few images show a layer's own errors


@dataclass(frozen=True)
class Options:
    """Settings of a parity run.

    Args:
        against: the target that all are compared with; None is the reference.
        forced_images: images of the state-forced runs; 0 skips them.
        limits: the largest number of images, by target name.
        substitutes: by target name, another network with the same layers, or another
            target. The comparison must then fail, which shows that it can.
    """

    against: Target | None = None
    forced_images: int = FORCED_IMAGES
    limits: Mapping[str, int] = field(default_factory=dict)
    substitutes: Mapping[str, SpikingGraph | Target] = field(default_factory=dict)

    @property
    def truth(self) -> Target:
        """The target that all are compared with."""
        return ReferenceTarget() if self.against is None else self.against


@dataclass
class Lane:
    """One target and its comparison so far.

    Args:
        target, graph: the simulator, and the network that it runs.
        subject: the network under comparison; it differs from `graph` if substituted.
        images: images to run.
        forced_images: the number of first images that also run state-forced.
        substituted: whether it runs another network, on purpose.
        is_truth: whether it is the target that all are compared with.
    """

    target: Target
    graph: SpikingGraph
    subject: SpikingGraph
    images: int
    forced_images: int
    substituted: bool
    is_truth: bool
    seconds: float = 0.0
    free: Comparison | None = None
    forced: Comparison | None = None

    def simulate(self, inputs: Array) -> Trace:
        """The target's trace; adds the time that it took to `seconds`."""
        started = time.perf_counter()
        trace = self.target.run(self.graph, inputs)
        self.seconds += time.perf_counter() - started
        return trace

    def compare_free(self, actual: Trace, desired: Trace, start: int) -> None:
        """Compare one more free-running chunk, which begins at sample `start`.

        Raises:
            TargetError: the traces cannot be compared.
        """
        found = self._compared(actual, desired, start)
        self.free = found if self.free is None else self.free.plus(found)

    def compare_forced(self, inputs: Array, desired: Trace, start: int) -> None:
        """Run the requested part of one more chunk state-forced, and compare it.

        Raises:
            TargetError: the target failed, or the traces cannot be compared.
        """
        count = min(inputs.shape[1], self.forced_images - start)
        if self.why_not_forced() is not None or count < 1:
            return
        part, x = head(desired, count), inputs[:, :count]
        actual = FORCED[self.target.name](self.target, self.graph, x, part)
        found = self._compared(actual, part, start)
        self.forced = found if self.forced is None else self.forced.plus(found)

    def why_not_forced(self) -> str | None:
        """The reason why there is no state-forced run; None if there is one."""
        if self.is_truth:
            return "the other targets are compared with it"
        if self.forced_images < 1:
            return "no state-forced image was requested"
        if self.target.name not in FORCED:
            return "this target cannot feed its layers with given spikes"
        return None

    def report(self) -> TargetReport:
        """The report on this target, after a check that no neuron-step is missing.

        Raises:
            TargetError: some neuron-steps were not compared.
        """
        free = self._complete(self.free, self.images)
        reason = self.why_not_forced()
        forced: StateForced | NotForced
        if reason is None:
            forced = StateForced(
                **dict(self._complete(self.forced, self.forced_images))
            )
        else:
            forced = NotForced(reason=reason)
        path = getattr(self.target, "path", None)
        return TargetReport(
            **dict(free),
            name=self.target.name,
            tolerance=TOLERANCES.get(self.target.name, EXACT),
            seconds=round(self.seconds, 3),
            substituted=self.substituted,
            file=None if path is None else str(path),
            state_forced=forced,
        )

    def _compared(self, actual: Trace, desired: Trace, start: int) -> Comparison:
        try:
            return compare(actual, desired, graph=self.subject, first_sample=start)
        except DataError as error:
            raise TargetError(f"target '{self.target.name}': {error}") from error

    def _complete(self, found: Comparison | None, images: int) -> Comparison:
        graph = self.subject
        expected = images * graph.steps * graph.neuron_count()
        if found is None or found.neuron_steps != expected:
            raise TargetError(
                f"target '{self.target.name}': compared"
                f" {0 if found is None else found.neuron_steps} neuron-steps, expected"
                f" {expected} = {images} images x {graph.steps} steps x"
                f" {graph.neuron_count()} neurons"
            )
        return found


def truth_trace(truth: Target, graph: SpikingGraph, inputs: Array) -> Trace:
    """The trace that targets are compared with: all spikes and all membranes.

    Raises:
        TargetError: `truth` does not record all membranes.
    """
    if isinstance(truth, ReferenceTarget):
        return reference.run(graph, inputs)
    trace = truth.run(graph, inputs)
    if missing := set(graph.neurons) - set(trace.membranes):
        raise TargetError(
            f"target '{truth.name}' cannot serve as the reference: it records no"
            f" membranes of {sorted(missing)}; choose a target that records all"
        )
    return trace


def make_lanes(
    graph: SpikingGraph,
    available: int,
    targets: Sequence[Target],
    options: Options,
) -> list[Lane]:
    """One lane per target; checks all options first.

    Raises:
        ConfigError: there is no target or no image, a target is unknown or listed
            twice, or a substitute has other layers.
    """
    names = [target.name for target in targets]
    if unknown := (set(options.substitutes) | set(options.limits)) - set(names):
        raise ConfigError(f"no target {sorted(unknown)} in this run; it has {names}")
    if len(set(names)) != len(names):
        raise ConfigError(f"a target is named twice: {names}; name each once")
    if options.forced_images < 0:
        raise ConfigError(
            f"asked for {options.forced_images} state-forced images; give 0 or more"
        )
    lanes = [make_lane(graph, available, target, options) for target in targets]
    if all(lane.is_truth for lane in lanes):
        raise ConfigError(
            f"nothing to compare with {options.truth.name}: the targets are {names};"
            " add another target"
        )
    return lanes


def make_lane(
    graph: SpikingGraph, available: int, target: Target, options: Options
) -> Lane:
    """The lane of a target, with its substitute if there is one.

    Raises:
        ConfigError: there is no image, or the substitute has other layers or would
            not run at all.
    """
    name = target.name
    images = min(available, options.limits.get(name, available))
    if images < 1:
        raise ConfigError(f"target '{name}': {images} images; give 1 or more")
    other = options.substitutes.get(name)
    runs = graph
    if isinstance(other, SpikingGraph):
        if isinstance(target, StudentTarget):
            raise ConfigError(
                f"substitute for target '{name}': it runs its own weights, not a graph;"
                " give the weights of another student"
            )
        check_substitute(name, other, graph)
        runs = other
    elif other is not None:
        target = other
    return Lane(
        target=target,
        graph=runs,
        subject=graph,
        images=images,
        forced_images=min(images, options.forced_images),
        substituted=other is not None,
        is_truth=other is None and name == options.truth.name,
    )


def check_substitute(name: str, other: SpikingGraph, graph: SpikingGraph) -> None:
    """Check that a substitute's trace can be compared.

    Raises:
        ConfigError: it has other layers, another input or another T.
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
    """The shape of each neuron node."""
    return {name: graph.shapes[name] for name in graph.neurons}


def chunks(lanes: Sequence[Lane], most: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive chunks that fit every lane with images left.

    Args:
        lanes: of all targets.
        most: the largest chunk of the target that all are compared with.
    """
    start = 0
    while active := [lane for lane in lanes if lane.images > start]:
        size = min(most, *(lane.target.chunk for lane in active))
        stop = min(start + size, *(lane.images for lane in active))
        yield start, stop
        start = stop
