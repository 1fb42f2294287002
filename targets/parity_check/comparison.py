"""compare(actual, desired): two traces, every spike and every recorded membrane.

Equality is exact: spikes bit for bit, membranes as float64 ==, so that NaN is never
equal. Samples are compared and counted, never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import add
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, computed_field

from stars.errors import DataError
from stars.graph.nodes import IF, LIF, CubaLIF
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from targets.record import Record


class Divergence(Record):
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
    margin: float | None = None

    model_config = ConfigDict(allow_inf_nan=True)  # a membrane may be NaN

    def __str__(self) -> str:
        """One line for people."""
        margin = "" if self.margin is None else f", {self.margin:g} below the threshold"
        return (
            f"layer '{self.node}', step {self.step}, neuron {self.neuron}, image"
            f" {self.sample}: {self.kind} {self.actual:g}, expected {self.desired:g}"
            f"{margin}"
        )


class LayerComparison(Record):
    """Counts of one layer.

    Args:
        node: its name.
        neuron_steps: images x T x neurons that were compared.
        spike_mismatches: of them, spikes that differ; 0 for a node that has none.
        membrane_steps: of them, those whose membrane was recorded on both sides.
        membrane_mismatches: of them, those that differ.
        mismatches_by_step: of spikes and membranes together, [T]; empty in a file
            that does not say.
    """

    node: str
    neuron_steps: int
    spike_mismatches: int
    membrane_steps: int
    membrane_mismatches: int
    mismatches_by_step: tuple[int, ...] = ()

    @property
    def mismatches(self) -> int:
        """Of spikes and of membranes."""
        return self.spike_mismatches + self.membrane_mismatches

    def plus(self, other: LayerComparison) -> LayerComparison:
        """The counts of two chunks of samples together."""
        by_step = map(add, self.mismatches_by_step, other.mismatches_by_step)
        return LayerComparison(
            node=self.node,
            neuron_steps=self.neuron_steps + other.neuron_steps,
            spike_mismatches=self.spike_mismatches + other.spike_mismatches,
            membrane_steps=self.membrane_steps + other.membrane_steps,
            membrane_mismatches=self.membrane_mismatches + other.membrane_mismatches,
            mismatches_by_step=tuple(by_step),
        )


class Comparison(Record):
    """What `compare` found."""

    images: int = Field(description="samples that were compared")
    layers: tuple[LayerComparison, ...] = Field(description="in execution order")
    decisions_agree: int = Field(description="samples whose class is the same")
    first_divergence: Divergence | None = Field(
        None, description="by step, then by execution order, then by sample"
    )

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return self.first_divergence is None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def neuron_steps(self) -> int:
        """Images x T x neurons."""
        return sum(layer.neuron_steps for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spike_mismatches(self) -> int:
        """Over all layers."""
        return sum(layer.spike_mismatches for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def membrane_steps(self) -> int:
        """Neuron-steps whose membrane was compared."""
        return sum(layer.membrane_steps for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def membrane_mismatches(self) -> int:
        """Over all layers."""
        return sum(layer.membrane_mismatches for layer in self.layers)

    @property
    def mismatches(self) -> int:
        """Of spikes and of membranes."""
        return self.spike_mismatches + self.membrane_mismatches

    def plus(self, other: Comparison) -> Comparison:
        """Two chunks of samples of the same graph together."""
        rank = {layer.node: i for i, layer in enumerate(self.layers)}
        both = (self.first_divergence, other.first_divergence)
        found = [first for first in both if first is not None]
        layers = zip(self.layers, other.layers, strict=True)
        return Comparison(
            images=self.images + other.images,
            layers=tuple(a.plus(b) for a, b in layers),
            decisions_agree=self.decisions_agree + other.decisions_agree,
            first_divergence=min(
                found, key=lambda d: (d.step, rank[d.node], d.sample), default=None
            ),
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
    layers, found = [], []
    for rank, name in enumerate(desired.membranes):
        spikes = different(actual.spikes, desired.spikes, name)
        membranes = different(actual.membranes, desired.membranes, name)
        layers.append(
            LayerComparison(
                node=name,
                neuron_steps=desired.membranes[name].size,
                spike_mismatches=count(spikes),
                membrane_steps=0 if membranes is None else membranes.size,
                membrane_mismatches=count(membranes),
                mismatches_by_step=by_step(desired.steps, spikes, membranes),
            )
        )
        place = first_place(spikes, membranes)
        if place is not None:
            found.append((place[0], rank, name, place))
    first = None
    if found:
        *_, name, place = min(found)
        first = describe(name, place, actual, desired, graph, first_sample)
    return Comparison(
        images=desired.batch,
        layers=tuple(layers),
        decisions_agree=count(actual.decisions() == desired.decisions()),
        first_divergence=first,
    )


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


def count(marks: NDArray[np.bool_] | None) -> int:
    """How many are true; 0 of a record that one side has not."""
    return 0 if marks is None else int(np.count_nonzero(marks))


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
