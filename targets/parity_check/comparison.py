"""compare(actual, desired): every spike and every recorded membrane of two traces.

Equality is exact: spikes bit by bit, membranes with float64 ==, so NaN never equals.
Mismatches are counted for every sample and never averaged.
"""

from __future__ import annotations

import math
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

# Units in the last place of float32 up to which a difference is called rounding. A sum
# of n terms strays by about sqrt(n) units, 68 for the 4,608 terms of a wide layer.
ROUNDING = 256.0


class Divergence(Record):
    """The first place where two traces differ.

    Args:
        node: its name.
        step: from 0.
        sample: index of the input over all chunks, from 0.
        neuron: index in the node's shape.
        kind: "spike", or "membrane" if only the membrane differs.
        actual, desired: the two values; 1 is a spike, 0 is none.
        margin: volts from the membrane of the side that did not spike, after that
            step, up to the threshold; None if unknown or without a threshold.
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
        """The place and both values in one line."""
        margin = "" if self.margin is None else f", {self.margin:g} below the threshold"
        return (
            f"layer '{self.node}', step {self.step}, neuron {self.neuron}, image"
            f" {self.sample}: {self.kind} {self.actual:.9g}, expected"
            f" {self.desired:.9g}{margin}"
        )


class LayerComparison(Record):
    """Mismatches of one layer.

    Args:
        node: the layer's name.
        neuron_steps: compared neuron-steps: images x T x neurons.
        spike_mismatches: neuron-steps whose spikes differ; 0 for a layer without
            spikes.
        membrane_steps: neuron-steps whose membrane both sides recorded.
        membrane_mismatches: neuron-steps whose membranes differ.
        mismatches_by_step: spikes and membranes that differ, [T]; empty if the file
            does not state them.
        largest_difference: volts between the two membranes that differ most; None if
            one is not finite.
        largest_membrane: volts of the expected membrane farthest from 0; None if one is
            not finite.
    """

    node: str
    neuron_steps: int
    spike_mismatches: int
    membrane_steps: int
    membrane_mismatches: int
    mismatches_by_step: tuple[int, ...] = ()
    largest_difference: float | None = 0.0
    largest_membrane: float | None = 0.0

    @property
    def largest_ulps(self) -> float | None:
        """The largest difference in units in the last place of float32.

        Those of the layer's largest membrane, because sums are rounded in them.
        """
        if self.largest_difference is None or self.largest_membrane is None:
            return None
        unit = np.spacing(np.float32(self.largest_membrane))
        return self.largest_difference / float(unit)

    @property
    def mismatches(self) -> int:
        """Spikes and membranes that differ."""
        return self.spike_mismatches + self.membrane_mismatches

    def plus(self, other: LayerComparison) -> LayerComparison:
        """The sum over two chunks of samples."""
        by_step = map(add, self.mismatches_by_step, other.mismatches_by_step)
        return LayerComparison(
            node=self.node,
            neuron_steps=self.neuron_steps + other.neuron_steps,
            spike_mismatches=self.spike_mismatches + other.spike_mismatches,
            membrane_steps=self.membrane_steps + other.membrane_steps,
            membrane_mismatches=self.membrane_mismatches + other.membrane_mismatches,
            mismatches_by_step=tuple(by_step),
            largest_difference=larger(
                self.largest_difference, other.largest_difference
            ),
            largest_membrane=larger(self.largest_membrane, other.largest_membrane),
        )


def larger(a: float | None, b: float | None) -> float | None:
    """The larger of two numbers; None if one is unknown."""
    return None if a is None or b is None else max(a, b)


class Comparison(Record):
    """The result of `compare`."""

    images: int = Field(description="compared samples")
    layers: tuple[LayerComparison, ...] = Field(description="in execution order")
    decisions_agree: int = Field(
        description="samples with the same class on both sides"
    )
    first_divergence: Divergence | None = Field(
        None, description="the first by step, then by layer, then by sample"
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
        """Neuron-steps whose membranes were compared."""
        return sum(layer.membrane_steps for layer in self.layers)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def membrane_mismatches(self) -> int:
        """Over all layers."""
        return sum(layer.membrane_mismatches for layer in self.layers)

    @property
    def mismatches(self) -> int:
        """Spikes and membranes that differ."""
        return self.spike_mismatches + self.membrane_mismatches

    @property
    def only_rounding(self) -> bool:
        """Whether membranes differ, and nothing does by more than float32 rounds."""
        return (
            self.membrane_mismatches > 0
            and self.spike_mismatches == 0
            and all(
                one.largest_ulps is not None and one.largest_ulps <= ROUNDING
                for one in self.layers
            )
        )

    @property
    def largest(self) -> str:
        """The largest difference of two membranes, in words."""
        broken = [one for one in self.layers if one.largest_difference is None]
        if broken:
            return f"a membrane of layer '{broken[0].node}' is not finite"
        worst = max(self.layers, key=lambda one: one.largest_ulps or 0.0)
        return (
            f"membranes differ by at most {worst.largest_difference:.3g} V, which is"
            f" {worst.largest_ulps:.3g} units in the last place of float32 (layer"
            f" '{worst.node}')"
        )

    def plus(self, other: Comparison) -> Comparison:
        """The comparison over two chunks of samples of the same graph."""
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
    """The mismatches of every spike and every membrane of two traces.

    Args:
        actual: a target's trace; it may lack membranes, but not the readout's.
        desired: the reference's trace, with all spikes and all membranes.
        graph: gives the thresholds; without it margins are unknown.
        first_sample: index of the traces' first sample over all chunks.

    Raises:
        DataError: the traces cannot be compared: they have no sample, or not the same
            steps, samples and nodes.
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
                largest_difference=largest_difference(
                    actual.membranes, desired.membranes, name, membranes
                ),
                largest_membrane=farthest(desired.membranes[name]),
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
    """Check that two traces hold the same nodes, steps and samples.

    Raises:
        DataError: they do not; the message lists every difference.
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
        wrong.append(f"unexpected membranes of {sorted(extra)}")
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
    """Where two records of a node differ; None if one side has no record."""
    if name not in actual or name not in desired:
        return None
    return np.asarray(actual[name] != desired[name])


def farthest(values: NDArray[Any]) -> float | None:
    """The largest absolute value; 0 without a value, None if one is not finite."""
    if values.size == 0:
        return 0.0
    found = float(max(values.max(), -values.min()))
    return found if math.isfinite(found) else None


def largest_difference(
    actual: Mapping[str, NDArray[Any]],
    desired: Mapping[str, NDArray[Any]],
    name: str,
    differs: NDArray[np.bool_] | None,
) -> float | None:
    """Volts between the membranes of a node that differ most; None if not finite."""
    if differs is None:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        return farthest(actual[name][differs] - desired[name][differs])


def count(marks: NDArray[np.bool_] | None) -> int:
    """The number of true values; 0 without a record."""
    return 0 if marks is None else int(np.count_nonzero(marks))


def by_step(steps: int, *records: NDArray[np.bool_] | None) -> tuple[int, ...]:
    """The number of values in all records that differ at each step."""
    total = np.zeros(steps, np.int64)
    for differs in records:
        if differs is not None:
            total += np.count_nonzero(differs.reshape(steps, -1), axis=1)
    return tuple(total.tolist())


def first_place(*records: NDArray[np.bool_] | None) -> tuple[int, ...] | None:
    """The first difference of one node, by step; a spike comes before a membrane.

    Returns:
        (step, index of the record, sample, neuron...); None if nothing differs.
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
    """The divergence at a place from `first_place`."""
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
    """Threshold minus membrane of a side that did not spike; None if unknown."""
    node = None if graph is None else graph.nodes.get(name)
    if not isinstance(node, LIF | IF | CubaLIF):
        return None
    for trace in (desired, actual):
        silent = name in trace.spikes and not trace.spikes[name][index]
        if silent and name in trace.membranes:
            return float(node.v_threshold[index[2:]] - trace.membranes[name][index])
    return None
