"""Builds the network of plan.npz with the shipped plain_lava.py, and records it.

Neurons and synapses are those of plain_lava.py. This file adds a memory-mapped source,
recording models, and the parameters of Lava's floating-point models.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.lif.process import LIFReset
from scipy.sparse import csr_matrix

from job import Job
from memmap_source.process import MemmapSource
from recording import RecordingFixed, RecordingFloat

sys.path.append(str(Path(__file__).parents[3] / "export"))
from plain_lava import Processes


class FloatProcesses(Processes):
    """The network in volts above v_reset, for Lava's floating-point models."""

    def registers(self, layer: dict[str, Any], bias: np.ndarray) -> dict[str, Any]:
        """Decays as fractions, threshold and bias in volts."""
        shift, volt = layer["decay_shift"], 2.0 ** layer["exponent"]
        return {
            "du": 2.0 ** -layer.get("current_decay_shift", 0),
            "dv": 0.0 if shift is None else 2.0**-shift,
            "vth": layer["threshold"] * volt if layer["spiking"] else np.inf,
            "bias_mant": bias * volt,
        }

    def weights(
        self, connection: dict[str, Any], weights: csr_matrix
    ) -> dict[str, Any]:
        """Weights in volts per spike, or per unit of the input."""
        target, about = self.layers[connection["target"]], self.header["input"]
        exponent = target["exponent"] + connection["shift"]
        if connection["source"] == about["name"]:
            exponent -= about["exponent"]
        return {"weights": weights * 2.0**exponent}


def build_fixed(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The bit-accurate network: one of its processes, and the run configuration."""
    network = Processes(job.folder / "plan.npz", job.steps)
    source = connected_source(job, network, 1, RecordingFixed.membrane_dtype)
    return source, run_config("fixed_pt", RecordingFixed)


def build_float(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The floating-point network, in volts; returns as `build_fixed`."""
    network = FloatProcesses(job.folder / "plan.npz", job.steps)
    factor = 2.0 ** network.header["input"]["exponent"]
    source = connected_source(job, network, factor, RecordingFloat.membrane_dtype)
    return source, run_config("floating_pt", RecordingFloat)


def connected_source(
    job: Job, network: Processes, factor: float, membrane_dtype: type
) -> MemmapSource:
    """A source connected to `network`; every layer is recorded.

    Args:
        job: of the input and the records.
        network: without a source.
        factor: value of one unit of the input.
        membrane_dtype: of the records.
    """
    job.create_records(membrane_dtype)
    for index, neurons in enumerate(network.neurons.values()):
        recorded(neurons, job, index)
    source = MemmapSource(
        path=str(job.folder / "x.npy"),
        rows=job.rows,
        factor=factor,
        shape=(math.prod(job.input_shape),),
    )
    network.connect(source)
    return source


def recorded(neurons: LIFReset, job: Job, index: int) -> None:
    """Tell the neurons' recording model where to write."""
    neurons.proc_params["record"] = job.record(index)


def run_config(tag: str, model: type) -> Loihi2SimCfg:
    """Lava's models of one tag, with a recording model for the neurons."""
    return Loihi2SimCfg(select_tag=tag, exception_proc_model_map={LIFReset: model})
