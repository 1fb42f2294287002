"""compare(actual, desired): two traces, every spike and every recorded membrane.

Equality is exact: spikes bit for bit, membranes as float64 ==, so that NaN is never
equal. Samples are compared and counted, never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import add
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stars.errors import DataError
from stars.graph.nodes import IF, LIF, CubaLIF
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace


@dataclass(frozen=True)
class Divergence:
    """The first place where two traces differ.

    Args:
        node: its name.
        step: from 0.
        sample: index of the input, from 0, over all chunks.
        neuron: index in the node's shape.
        kind: "spike", or "membrane" where only the membrane differs.
        actual, desired: the two values; a spike is 1, none is 0.
        margin: volts between the threshold and the membrane of the side that did not
            spike, after that step; None when unknown or without a threshold.
    """

    node: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    kind: Literal["spike", "membrane"]
    actual: float
    desired: float
    margin: float | None

    def __str__(self) -> str:
        """One line for people."""
        margin = "" if self.margin is None else f", {self.margin:g} below the threshold"
        return (
            f"node '{self.node}', step {self.step}, neuron {self.neuron}, sample"
            f" {self.sample}: {self.kind} {self.actual:g}, expected {self.desired:g}"
            f"{margin}"
        )


@dataclass(frozen=True)
class NodeComparison:
    """Counts of one node.

    Args:
        node: its name.
        neuron_steps: images x T x neurons that were compared.
        spike_mismatches: of them, spikes that differ; 0 for a node that has none.
        membrane_steps: of them, those whose membrane was recorded on both sides.
        membrane_mismatches: of them, those that differ.
        mismatches_by_step: of spikes and membranes together, [T].
    """

    node: str
    neuron_steps: int
    spike_mismatches: int
    membrane_steps: int
    membrane_mismatches: int
    mismatches_by_step: tuple[int, ...]

    def plus(self, other: NodeComparison) -> NodeComparison:
        """The counts of two chunks of samples together."""
        return NodeComparison(
            self.node,
            self.neuron_steps + other.neuron_steps,
            self.spike_mismatches + other.spike_mismatches,
            self.membrane_steps + other.membrane_steps,
            self.membrane_mismatches + other.membrane_mismatches,
            tuple(map(add, self.mismatches_by_step, other.mismatches_by_step)),
        )


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        images: samples that were compared.
        nodes: in execution order.
        decisions_agree: samples whose class is the same.
        first: the first divergence; by step, then by execution order, then by sample.
    """

    images: int
    nodes: tuple[NodeComparison, ...]
    decisions_agree: int
    first: Divergence | None

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.first is None

    @property
    def neuron_steps(self) -> int:
        """Images x T x neurons."""
        return sum(node.neuron_steps for node in self.nodes)

    @property
    def spike_mismatches(self) -> int:
        """Over all nodes."""
        return sum(node.spike_mismatches for node in self.nodes)

    @property
    def membrane_steps(self) -> int:
        """Neuron-steps whose membrane was compared."""
        return sum(node.membrane_steps for node in self.nodes)

    @property
    def membrane_mismatches(self) -> int:
        """Over all nodes."""
        return sum(node.membrane_mismatches for node in self.nodes)

    def plus(self, other: Comparison) -> Comparison:
        """Two chunks of samples of the same graph together."""
        rank = {node.node: i for i, node in enumerate(self.nodes)}
        found = [first for first in (self.first, other.first) if first is not None]
        return Comparison(
            self.images + other.images,
            tuple(a.plus(b) for a, b in zip(self.nodes, other.nodes, strict=True)),
            self.decisions_agree + other.decisions_agree,
            min(found, key=lambda d: (d.step, rank[d.node], d.sample), default=None),
        )


def compare(
    actual: Trace,
    desired: Trace,
    *,
    graph: SpikingGraph | None = None,
    first_sample: int = 0,
) -> Comparison:
    """Every spike and every membrane of `actual` against those of `desired`.

    Args:
        actual: of a target; it may leave out membranes, but not the readout's.
        desired: of the reference: all spikes, all membranes.
        graph: for the thresholds; without it no margin is known.
        first_sample: index of the traces' first sample over all chunks.

    Raises:
        DataError: no sample, another number of steps or samples, a node is missing or
            too many: there is nothing to conclude from such traces.
    """
    check_comparable(actual, desired)
    nodes, found = [], []
    for rank, name in enumerate(desired.membranes):
        spikes = different(actual.spikes, desired.spikes, name)
        membranes = different(actual.membranes, desired.membranes, name)
        nodes.append(
            NodeComparison(
                name,
                desired.membranes[name].size,
                0 if spikes is None else int(np.count_nonzero(spikes)),
                0 if membranes is None else membranes.size,
                0 if membranes is None else int(np.count_nonzero(membranes)),
                by_step(desired.steps, spikes, membranes),
            )
        )
        place = first_place(spikes, membranes)
        if place is not None:
            found.append((place[0], rank, name, place))
    first = None
    if found:
        *_, name, place = min(found)
        first = describe(name, place, actual, desired, graph, first_sample)
    agree = int(np.count_nonzero(actual.decisions() == desired.decisions()))
    return Comparison(desired.batch, tuple(nodes), agree, first)


def check_comparable(actual: Trace, desired: Trace) -> None:
    """Refuse traces that do not hold the same nodes, steps and samples.

    Raises:
        DataError: with everything that is wrong.
    """
    if desired.batch < 1 or desired.steps < 1:
        raise DataError(
            f"nothing to compare: {desired.batch} samples of {desired.steps} steps"
        )
    wrong = []
    if actual.readout != desired.readout:
        wrong.append(f"the readout is '{actual.readout}', expected '{desired.readout}'")
    if set(actual.spikes) != set(desired.spikes):
        wrong.append(
            f"spikes of {sorted(actual.spikes)}, expected {sorted(desired.spikes)}"
        )
    if extra := set(actual.membranes) - set(desired.membranes):
        wrong.append(f"membranes of {sorted(extra)}, which have none")
    for what in ("spikes", "membranes"):
        mine, theirs = getattr(actual, what), getattr(desired, what)
        wrong += [
            f"{what} of node '{name}' have shape {mine[name].shape}, expected"
            f" {theirs[name].shape} (steps, samples, ...)"
            for name in mine
            if name in theirs and mine[name].shape != theirs[name].shape
        ]
    if wrong:
        raise DataError("traces cannot be compared: " + "; ".join(wrong))


def different(
    actual: Mapping[str, NDArray[Any]], desired: Mapping[str, NDArray[Any]], name: str
) -> NDArray[np.bool_] | None:
    """Where the records of one node differ; None when one side has none."""
    if name not in actual or name not in desired:
        return None
    return np.asarray(actual[name] != desired[name])


def by_step(steps: int, *records: NDArray[np.bool_] | None) -> tuple[int, ...]:
    """How many values of all records differ at each step."""
    total = np.zeros(steps, np.int64)
    for differs in records:
        if differs is not None:
            total += np.count_nonzero(differs.reshape(steps, -1), axis=1)
    return tuple(total.tolist())


def first_place(*records: NDArray[np.bool_] | None) -> tuple[int, ...] | None:
    """Index of the first difference of one node: by step, a spike before a membrane.

    Returns:
        (step, which record, sample, neuron...), None without any.
    """
    places = []
    for which, differs in enumerate(records):
        if differs is not None and differs.any():
            step = int(differs.reshape(len(differs), -1).any(axis=1).argmax())
            rest = np.unravel_index(int(differs[step].argmax()), differs.shape[1:])
            places.append((step, which, *(int(i) for i in rest)))
    return min(places, default=None)


def describe(
    name: str,
    place: tuple[int, ...],
    actual: Trace,
    desired: Trace,
    graph: SpikingGraph | None,
    first_sample: int,
) -> Divergence:
    """The divergence at a place that `first_place` found."""
    step, which, sample, *neuron = place
    index = (step, sample, *neuron)
    kind: Literal["spike", "membrane"] = "membrane" if which else "spike"
    mine, theirs = (
        (actual.membranes, desired.membranes)
        if which
        else (actual.spikes, desired.spikes)
    )
    return Divergence(
        node=name,
        step=step,
        sample=first_sample + sample,
        neuron=tuple(neuron),
        kind=kind,
        actual=float(mine[name][index]),
        desired=float(theirs[name][index]),
        margin=margin(name, index, actual, desired, graph),
    )


def margin(
    name: str,
    index: tuple[int, ...],
    actual: Trace,
    desired: Trace,
    graph: SpikingGraph | None,
) -> float | None:
    """Threshold minus the membrane of a side that did not spike; None when unknown."""
    node = None if graph is None else graph.nodes.get(name)
    if not isinstance(node, LIF | IF | CubaLIF):
        return None
    for trace in (desired, actual):
        silent = name in trace.spikes and not trace.spikes[name][index]
        if silent and name in trace.membranes:
            return float(node.v_threshold[index[2:]] - trace.membranes[name][index])
    return None
