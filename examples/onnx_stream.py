"""Run an exported network on a stream of frames with ONNX Runtime alone.

The ONNX file holds the time loop. A chunk ends with the states that the next chunk
starts with, so that a stream in chunks equals one run, bit for bit.

    python examples/onnx_stream.py
"""

from __future__ import annotations

import json

import numpy as np
import onnxruntime

import export
from stars.graph import reference
from stars.testing import random_graph, random_inputs


def main() -> None:
    """Write a network, stream nine frames in chunks, compare with one run."""
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")  # or export.read("student.nir")
    export.write(graph, "network.onnx")
    frames = random_inputs(rng, graph, 1, steps=9).astype(np.float32)

    session = onnxruntime.InferenceSession("network.onnx")
    about = session.get_modelmeta().custom_metadata_map
    shapes = {value.name: value.shape for value in session.get_inputs()}
    state = {}
    for node, value in json.loads(about["initial_state"]).items():
        name = f"state/{node}"
        state[name] = np.full((1, *shapes[name][1:]), value, np.float32)
    names = [value.name for value in session.get_outputs()]
    for chunk in np.split(frames, [2, 3, 7]):
        results = dict(
            zip(names, session.run(None, {"input": chunk, **state}), strict=True)
        )
        state = {name: results[name.replace("state/", "state_out/")] for name in state}
        print("class so far:", results["output"][-1].argmax(-1))

    whole = reference.run(graph, frames).membranes[graph.readout][-1]
    print("equal to one run:", bool((results["output"][-1] == whole).all()))


if __name__ == "__main__":
    main()
