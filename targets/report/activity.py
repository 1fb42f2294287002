"""The reference on a few images: rasters, membranes, and mismatches by step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from targets.inputs import Inputs
from targets.loihi.emulator import LoihiEmulator
from targets.parity_check.comparison import compare
from targets.report.model import Activity, MembraneRecord, Raster, StepMap

STEPS_SHOWN = 36  # over all images
IMAGES_SHOWN = 6
RASTER_NEURONS = 32
MEMBRANES_SHOWN = 5  # per layer
MEMBRANE_VALUES = 20_000  # over all layers, which keeps the page small


def sample(graph: SpikingGraph, inputs: Inputs) -> Array:
    """The encoded input of the first few images, [T, B, *input shape]."""
    count = max(1, min(IMAGES_SHOWN, STEPS_SHOWN // graph.steps, len(inputs)))
    return inputs.take(0, count)


def activity(graph: SpikingGraph, inputs: Array) -> tuple[Activity, dict[str, float]]:
    """(the shown part of the reference's trace, mean rate of each layer)."""
    trace = reference.run(graph, inputs)
    each = MEMBRANE_VALUES // (len(graph.neurons) * trace.steps * trace.batch)
    shown = Activity(
        images=trace.batch,
        steps=trace.steps,
        decisions=[int(one) for one in trace.decisions()],
        rasters=[raster(name, trace.spikes[name]) for name in graph.spiking],
        membranes=[
            record
            for name in graph.neurons
            for record in membranes(graph, name, trace, each)
        ],
    )
    return shown, trace.rates()


def raster(name: str, spikes: NDArray[np.bool_]) -> Raster:
    """The raster of up to 32 evenly spaced neurons, from spikes [T, B, *shape]."""
    flat = spikes.reshape(*spikes.shape[:2], -1)
    neurons = flat.shape[2]
    chosen = np.unique(
        np.linspace(0, neurons - 1, min(RASTER_NEURONS, neurons)).round().astype(int)
    )
    found = np.argwhere(flat[:, :, chosen].transpose(1, 0, 2))
    return Raster(
        layer=name,
        neurons=chosen.tolist(),
        of=neurons,
        spikes=[tuple(map(int, place)) for place in found],
    )


def membranes(
    graph: SpikingGraph, name: str, trace: Trace, most: int
) -> list[MembraneRecord]:
    """Membranes of the neurons that fire and rest most evenly, highest membrane first.

    Of a readout, the first 10 neurons.
    """
    membrane = trace.membranes[name]
    shape = graph.shapes[name]
    flat = membrane.reshape(*membrane.shape[:2], -1)
    count = min(max(1, min(MEMBRANES_SHOWN, most)), flat.shape[2])
    if name in trace.spikes:
        spikes = trace.spikes[name].reshape(flat.shape)
        fired = spikes.sum(axis=(0, 1))
        mixed = np.minimum(fired, trace.steps * trace.batch - fired)
        chosen = np.lexsort((-flat.max(axis=(0, 1)), -mixed))[:count]
    else:
        spikes, chosen = np.zeros(flat.shape, bool), np.arange(flat.shape[2])[:10]
    thresholds = graph.nodes[name].parameters().get("v_threshold")
    return [
        MembraneRecord(
            layer=name,
            neuron=[int(i) for i in np.unravel_index(index, shape)],
            threshold=None
            if thresholds is None
            else float(np.broadcast_to(np.asarray(thresholds), shape).flat[index]),
            membrane=flat[:, :, index].T.tolist(),
            spikes=[np.flatnonzero(one).tolist() for one in spikes[:, :, index].T],
        )
        for index in map(int, chosen)
    ]


def step_map(graph: SpikingGraph, inputs: Array) -> StepMap:
    """Mismatches of the Loihi emulator with the reference, by layer and step.

    Raises:
        UnsupportedNodeError: the emulator does not support a node.
        LimitError: the network does not fit the emulated chip.
        GraphError: the network is not on the grid.
    """
    target = LoihiEmulator()
    found = compare(target.run(graph, inputs), reference.run(graph, inputs))
    return StepMap(
        targets=[target.name],
        images=found.images,
        layers=[layer.node for layer in found.layers],
        counts=[layer.mismatches_by_step for layer in found.layers],
    )
