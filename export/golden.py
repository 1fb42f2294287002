"""Golden vectors: inputs from a fixed seed, and the reference's results for them.

Anyone with a file can draw the same inputs, run the file, and compare the results: with
the values in a Lava bundle, or with their SHA-256 in an ONNX file.
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
SPIKE_RATE = 0.4  # of the random spikes for a graph without an encoding


def golden_inputs(
    graph: SpikingGraph,
    images: NDArray[np.uint8] | None = None,
    *,
    samples: int = GOLDEN_SAMPLES,
) -> Array:
    """The golden inputs, [T, B, *input shape].

    Args:
        graph: its encoding turns images into inputs; without one, inputs are spikes.
        images: uint8 [B, C, H, W]; the first `samples` are used. None draws them by
            `numpy.random.default_rng(GOLDEN_SEED).integers(0, 256, ...)`.
        samples: largest B.

    Raises:
        DataError: the images do not fit the graph.
    """
    shape = graph.shapes[graph.input]
    if graph.encoding is None:
        if images is not None:
            raise DataError(
                "the graph takes spikes: it states no encoding for images; pass no"
                " images"
            )
        rng = np.random.default_rng(GOLDEN_SEED)
        return (rng.random((graph.steps, samples, *shape)) < SPIKE_RATE).astype(float)
    return graph.encoding.encode(golden_images(graph, images, samples), graph.steps)


def golden_images(
    graph: SpikingGraph,
    images: NDArray[np.uint8] | None = None,
    samples: int = GOLDEN_SAMPLES,
) -> NDArray[np.uint8]:
    """The images of `golden_inputs`, [B, C, H, W]."""
    if images is not None:
        return images[:samples]
    rng = np.random.default_rng(GOLDEN_SEED)
    shape = (samples, *graph.shapes[graph.input])
    return rng.integers(0, 256, shape, dtype=np.uint8)


def golden_vectors(graph: SpikingGraph, inputs: Array) -> dict[str, NDArray[Any]]:
    """The reference's results for `inputs`: all spikes, and the readout's membrane.

    Names are `inputs`, `spikes_<node>` and `membranes_<readout>`; all are [T, B, ...].
    """
    trace = reference.run(graph, inputs)
    spikes = {f"spikes_{name}": values for name, values in trace.spikes.items()}
    readout = {f"membranes_{trace.readout}": trace.membranes[trace.readout]}
    return {"inputs": inputs, **spikes, **readout}


def golden_hashes(graph: SpikingGraph) -> dict[str, Any] | None:
    """Seed, number and SHA-256 of the golden vectors; None if runs are not exact.

    The hashes are of the bytes in C order: spikes as uint8, everything else as float32
    without negative zero.
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
    """SHA-256 of spikes as uint8, or of other values as float32."""
    kind = np.uint8 if values.dtype == np.bool_ else np.float32
    return hashlib.sha256(values.astype(kind).tobytes()).hexdigest()
