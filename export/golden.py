"""Golden vectors: inputs drawn from a fixed seed, and what the reference makes of them.

Whoever holds a file can draw the same inputs, run it, and compare: bytes in a Lava
bundle, their SHA-256 in an ONNX file.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stars.errors import DataError, GraphError, LimitError, UnsupportedNodeError
from stars.graph import reference
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify

GOLDEN_SAMPLES = 8
GOLDEN_SEED = 20
SPIKE_RATE = 0.4  # of random spikes, where a graph takes spikes


def golden_inputs(
    graph: SpikingGraph,
    images: NDArray[np.uint8] | None = None,
    *,
    samples: int = GOLDEN_SAMPLES,
) -> Array:
    """The golden inputs, [T, B, *input shape].

    Args:
        graph: with an encoding, images become its input; else it takes spikes.
        images: uint8 [B, C, H, W], of which the first `samples` are taken; None draws
            them by `numpy.random.default_rng(GOLDEN_SEED).integers(0, 256, ...)`.
        samples: B, at most.

    Raises:
        DataError: the graph does not take such images.
    """
    shape = graph.shapes[graph.input]
    if graph.encoding is None:
        if images is not None:
            raise DataError(
                "the graph takes spikes: it states no encoding for images; leave the"
                " images out"
            )
        rng = np.random.default_rng(GOLDEN_SEED)
        return (rng.random((graph.steps, samples, *shape)) < SPIKE_RATE).astype(float)
    if images is None:
        rng = np.random.default_rng(GOLDEN_SEED)
        images = rng.integers(0, 256, (samples, *shape), dtype=np.uint8)
    return graph.encoding.encode(images[:samples], graph.steps)


def golden_vectors(graph: SpikingGraph, inputs: Array) -> dict[str, NDArray[Any]]:
    """What the reference makes of `inputs`: spikes of every layer, readout's membrane.

    Names are `inputs`, `spikes_<node>` and `membranes_<readout>`; all are [T, B, ...].
    """
    trace = reference.run(graph, inputs)
    spikes = {f"spikes_{name}": values for name, values in trace.spikes.items()}
    readout = {f"membranes_{trace.readout}": trace.membranes[trace.readout]}
    return {"inputs": inputs, **spikes, **readout}


def golden_hashes(graph: SpikingGraph) -> dict[str, Any] | None:
    """Seed, number and SHA-256 of the golden vectors; None where no run is exact.

    Hashed are the bytes in C order: spikes as uint8, everything else as float32, with
    no negative zero.
    """
    try:
        exact = certify(graph).ok
    except (GraphError, LimitError, UnsupportedNodeError):
        return None
    if not exact:
        return None
    vectors = golden_vectors(graph, golden_inputs(graph))
    return {
        "seed": GOLDEN_SEED,
        "samples": GOLDEN_SAMPLES,
        "sha256": {name: digest(values) for name, values in vectors.items()},
    }


def digest(values: NDArray[Any]) -> str:
    """SHA-256 of the values as uint8 if they are spikes, else as float32."""
    kind = np.uint8 if values.dtype == np.bool_ else np.float32
    return hashlib.sha256(values.astype(kind).tobytes()).hexdigest()
