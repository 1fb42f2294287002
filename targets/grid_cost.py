"""The cost of putting a graph on the grid: in weights, spikes, decisions and accuracy.

Both graphs run in the float64 reference on the same inputs, so every difference comes
from the rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.golden import GOLDEN_SEED, SPIKE_RATE, golden_inputs
from stars.data.images import load
from stars.errors import ConfigError, DataError
from stars.graph import reference
from stars.graph.nodes import IF, LIF, Array, CubaLIF, Weighted
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.certificate import Certificate, certify
from stars.grid.quantization import NodeGrid, Quantization, weighted
from targets.inputs import ArrayInputs, Inputs, first, inputs_for, read_array
from targets.parity_check.comparison import Comparison, compare
from targets.subject import Subject

CHUNK = 50  # samples per pass of the reference
RANDOM_SAMPLES = 64
REAL_SAMPLES = 200


@dataclass(frozen=True, eq=False)
class Sample:
    """The inputs on which the two graphs are compared.

    Args:
        inputs: of both graphs.
        labels: of each input, [N]; None without labels.
        source: a description of the inputs.
    """

    inputs: Inputs
    labels: NDArray[np.int64] | None
    source: str


@dataclass(frozen=True)
class NodeCost:
    """The rounding errors of one node with weights.

    Args:
        node: its name.
        step_exponent: log2 of the weights' step; None if nothing was rounded.
        weights: the number of weights.
        weight_error: largest |after - before|; at most half a step unless clipped.
        relative_error: norm of (after - before) over the norm of before.
        clipped_weights, clipped_biases: values that moved by more than half a step.
        bias_error: largest |after - before| of the biases.
    """

    node: str
    step_exponent: int | None
    weights: int
    weight_error: float
    relative_error: float
    clipped_weights: int
    bias_error: float
    clipped_biases: int


@dataclass(frozen=True)
class NeuronCost:
    """The effect of rounding on one spiking population and on its spikes.

    Args:
        node: its name.
        threshold_error: largest |after - before| of v_threshold - v_reset, volts.
        tau_before, tau_after: seconds, of the neuron whose tau (tau_mem) changed by the
            largest ratio.
        agreement: share of neuron-steps, over all samples, with equal spikes, 0 to 1.
        rate_before, rate_after: spikes per neuron and step.
    """

    node: str
    threshold_error: float
    tau_before: float
    tau_after: float
    agreement: float
    rate_before: float
    rate_after: float


@dataclass(frozen=True)
class QuantizationReport:
    """The cost of putting a graph on the grid.

    Args:
        source: a description of the inputs.
        samples: the number of inputs.
        nodes, neurons: one row per node or population, in execution order.
        decisions: share of samples with the same class before and after, 0 to 1.
        accuracy_before, accuracy_after: None without labels.
        certificate: of the graph on the grid.
    """

    source: str
    samples: int
    nodes: tuple[NodeCost, ...]
    neurons: tuple[NeuronCost, ...]
    decisions: float
    accuracy_before: float | None
    accuracy_after: float | None
    certificate: Certificate

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {**asdict(self), "certificate": self.certificate.to_json()}


def choose_sample(
    subject: Subject, inputs: Path | None, data: str | None, count: int | None
) -> Sample:
    """The sample from a file, a data set, the run's test images, or random inputs.

    Args:
        subject: its graph takes the inputs.
        inputs: a .npy or .npz file, see `targets.inputs`.
        data: a name or path for `stars.data.load`.
        count: samples; by default 64 random inputs, else 200, or all if fewer.

    Raises:
        ConfigError: both sources are given, or there are fewer than `count` samples.
        DataError: the graph does not accept the inputs.
    """
    if inputs is not None and data is not None:
        raise ConfigError("--inputs and --data exclude each other; pass one of them")
    if inputs is not None:
        given = inputs_for(subject.graph, read_array(inputs), str(inputs))
        return limited(Sample(given, None, str(inputs)), count)
    if data is None and subject.run is not None:
        data = str(subject.run.read_config().get("test_data") or "none")
    if data not in (None, "none"):
        images = load(str(data))
        source = f"data '{data}'"
        given = inputs_for(subject.graph, images.images, source)
        return limited(Sample(given, images.labels, source), count)
    return random_sample(subject.graph, RANDOM_SAMPLES if count is None else count)


def limited(sample: Sample, count: int | None) -> Sample:
    """The first `count` of a sample; by default `REAL_SAMPLES`, or all if fewer."""
    there = len(sample.inputs)
    taken = first(sample.inputs, min(REAL_SAMPLES, there) if count is None else count)
    labels = None if sample.labels is None else sample.labels[: len(taken)]
    return Sample(taken, labels, f"the first {len(taken)} of {sample.source}")


def random_sample(graph: SpikingGraph, count: int) -> Sample:
    """Random inputs from a fixed seed, with their description.

    Raises:
        ConfigError: count is below 1.
    """
    if count < 1:
        raise ConfigError(f"asked for {count} random inputs; ask for 1 or more")
    kind = "8-bit images of uniform noise"
    if graph.encoding is None:
        kind = f"spikes, each with probability {SPIKE_RATE}"
    values = golden_inputs(graph, samples=count)
    source = f"{count} random inputs, {kind}, seed {GOLDEN_SEED}"
    return Sample(ArrayInputs(values), None, source)


def measure(
    before: SpikingGraph,
    done: Quantization,
    sample: Sample,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> QuantizationReport:
    """The cost of the quantization `done`, measured against the original graph.

    Args:
        before: the original graph.
        done: the result of `stars.grid.quantization` for it.
        sample: inputs for both graphs.
        progress: called with the number of samples done and the number of all.

    Raises:
        DataError: the inputs or the number of labels do not fit.
    """
    count = len(sample.inputs)
    if sample.labels is not None and len(sample.labels) != count:
        raise DataError(
            f"there are {len(sample.labels)} labels for {count} inputs; give as many"
        )
    chunks = []
    for start in range(0, count, CHUNK):
        x = sample.inputs.take(start, min(start + CHUNK, count))
        labels = None if sample.labels is None else sample.labels[start:][: x.shape[1]]
        old, new = reference.run(before, x), reference.run(done.graph, x)
        chunks.append(tally(old, new, labels))
        progress(min(start + CHUNK, count), count)
    sums = reduce(SampleTally.plus, chunks)
    share = {n.node: n for n in sums.comparison.layers}
    return QuantizationReport(
        source=sample.source,
        samples=count,
        nodes=tuple(node_costs(done)),
        neurons=tuple(
            neuron_cost(
                name,
                (before.nodes[name], done.graph.nodes[name]),
                1 - share[name].spike_mismatches / share[name].neuron_steps,
                *(sums.spikes[name] / share[name].neuron_steps),
            )
            for name in before.spiking
        ),
        decisions=sums.comparison.decisions_agree / count,
        accuracy_before=None if sample.labels is None else sums.right[0] / count,
        accuracy_after=None if sample.labels is None else sums.right[1] / count,
        certificate=certify(done.graph),
    )


@dataclass(frozen=True, eq=False)
class SampleTally:
    """Counts over samples: spikes by node and correct decisions, [before, after]."""

    comparison: Comparison
    spikes: dict[str, NDArray[np.int64]]
    right: NDArray[np.int64]

    def plus(self, other: SampleTally) -> SampleTally:
        """The sum of two tallies."""
        spikes = {n: count + other.spikes[n] for n, count in self.spikes.items()}
        comparison = self.comparison.plus(other.comparison)
        return SampleTally(comparison, spikes, self.right + other.right)


def tally(old: Trace, new: Trace, labels: NDArray[np.int64] | None) -> SampleTally:
    """The counts of one chunk."""
    both = (old, new)
    spikes = {
        n: np.array([np.count_nonzero(t.spikes[n]) for t in both]) for n in old.spikes
    }
    right = np.zeros(2, np.int64)
    if labels is not None:
        right = np.array([np.count_nonzero(t.decisions() == labels) for t in both])
    return SampleTally(compare(new, old), spikes, right)


def node_costs(done: Quantization) -> list[NodeCost]:
    """A row for each node with weights."""
    after = dict(weighted(done.graph))
    return [
        node_cost(name, node, after[name], done.grids.get(name))
        for name, node in weighted(done.exact)
    ]


def node_cost(
    name: str, before: Weighted, after: Weighted, grid: NodeGrid | None
) -> NodeCost:
    """The rounding errors of one node with weights."""
    moved, bias_moved = after.weight - before.weight, after.bias - before.bias
    norm = float(np.linalg.norm(before.weight))
    return NodeCost(
        node=name,
        step_exponent=None if grid is None else grid.weight_exponent,
        weights=before.weight.size,
        weight_error=float(np.abs(moved).max(initial=0)),
        relative_error=float(np.linalg.norm(moved)) / norm if norm else 0.0,
        clipped_weights=0 if grid is None else beyond(moved, grid.weight_exponent),
        bias_error=float(np.abs(bias_moved).max(initial=0)),
        clipped_biases=0 if grid is None else beyond(bias_moved, grid.bias_exponent),
    )


def beyond(moved: Array, exponent: int) -> int:
    """How many values moved by more than half a step of 2^exponent.

    A margin of 2^-20 allows for float64 errors.
    """
    half = 2.0 ** (exponent - 1)
    return int(np.count_nonzero(np.abs(moved) > half * (1 + 2.0**-20)))


def neuron_cost(
    name: str,
    nodes: tuple[object, object],
    agreement: float,
    rate_before: float,
    rate_after: float,
) -> NeuronCost:
    """The effect of rounding on one spiking population."""
    old, new = nodes
    threshold, tau = 0.0, (0.0, 0.0)
    if isinstance(old, IF | LIF | CubaLIF) and isinstance(new, IF | LIF | CubaLIF):
        heights = [n.v_threshold - n.v_reset for n in (old, new)]
        threshold = float(np.abs(heights[1] - heights[0]).max())
    if isinstance(old, LIF | CubaLIF) and isinstance(new, LIF | CubaLIF):
        taus = [n.tau if isinstance(n, LIF) else n.tau_mem for n in (old, new)]
        most = int(np.abs(np.log(taus[1] / taus[0])).argmax())
        tau = float(taus[0].flat[most]), float(taus[1].flat[most])
    return NeuronCost(
        name, threshold, *tau, agreement, float(rate_before), float(rate_after)
    )
