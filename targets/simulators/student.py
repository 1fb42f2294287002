"""The trained student as a target: the torch module, not a file exported from it.

The module runs as in training: Norse's loop in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stars.errors import DataError
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace

if TYPE_CHECKING:
    from stars.networks.network import Network


class StudentTarget:
    """The target that runs the module of a student.safetensors.

    Args:
        path: the file; every run reads it.
    """

    name = "student"
    description = "the trained torch module of a run: Norse's loop in float32"
    chunk = 250

    def __init__(self, path: Path) -> None:
        self.path = path

    def unavailable(self) -> str | None:
        """Missing packages, and the command that installs them; None if complete."""
        missing = [name for name in ("torch", "norse") if find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed; run 'pip install stars-snn'"
        return None

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """The module's trace on inputs [T, B, *input shape], constant over T.

        Args:
            graph: gives the readout's name; its weights are not used.
            inputs: the same at every step.
            forced: each layer reads its input spikes from this trace.

        Raises:
            DataError: the inputs change over time, or have another number of steps.
            FormatError: the file is missing or damaged.
        """
        import torch  # noqa: PLC0415 - listing targets needs no torch

        from stars.networks.student import recorded  # noqa: PLC0415
        from stars.networks.student_file import load  # noqa: PLC0415
        from targets.simulators.norse_network import exact_kernels  # noqa: PLC0415

        if not np.array_equal(inputs, np.broadcast_to(inputs[:1], inputs.shape)):
            raise DataError(
                "target 'student': the inputs change from step to step; the trained"
                " module takes one constant image"
            )
        network, _ = load(self.path)
        if len(inputs) != network.steps:
            raise DataError(
                f"target 'student': the inputs have {len(inputs)} steps, the trained"
                f" module runs for {network.steps}"
            )
        images = torch.from_numpy(inputs[0].astype(np.float32))
        with exact_kernels(), recorded(network) as layers, replaced(network, forced):
            outputs = network(images)
        spikes = {name: pair[0].numpy() != 0 for name, pair in layers.items()}
        membranes = {
            name: pair[1].numpy().astype(np.float64) for name, pair in layers.items()
        }
        readout = outputs.logits.cumsum(0).numpy().astype(np.float64)
        return Trace(spikes, {**membranes, graph.readout: readout}, graph.readout)


@contextmanager
def replaced(network: Network, forced: Trace | None) -> Iterator[None]:
    """Within it, each spiking layer outputs the spikes of `forced`, if given."""
    import torch  # noqa: PLC0415 - listing targets needs no torch

    from stars.networks.student import lif_layers  # noqa: PLC0415

    given = {} if forced is None else forced.spikes
    layers = lif_layers(network)
    hooks = []
    for name, values in given.items():
        spikes = torch.from_numpy(values).flatten(0, 1).float()
        hook = layers[name].register_forward_hook(lambda *_, spikes=spikes: spikes)
        hooks.append(hook)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
