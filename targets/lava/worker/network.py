"""The network of plan.npz as the shipped plain_lava.py builds it, with our records.

The source and the recording models are ours, the neurons and synapses those that every
bundle ships. Here is besides what the floating-point models need instead of registers.
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
    """The same in volts above v_reset, for Lava's floating-point models."""

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
        """Volts of a spike, or of one unit of the input."""
        target, about = self.layers[connection["target"]], self.header["input"]
        exponent = target["exponent"] + connection["shift"]
        if connection["source"] == about["name"]:
            exponent -= about["exponent"]
        return {"weights": weights * 2.0**exponent}


def build_fixed(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The bit-accurate network; returns one of its processes, and how to run it."""
    network = Processes(job.folder / "plan.npz", job.steps)
    source = connected_source(job, network, 1, RecordingFixed.membrane_dtype)
    return source, run_config("fixed_pt", RecordingFixed)


def build_float(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The floating-point network, in volts."""
    network = FloatProcesses(job.folder / "plan.npz", job.steps)
    factor = 2.0 ** network.header["input"]["exponent"]
    source = connected_source(job, network, factor, RecordingFloat.membrane_dtype)
    return source, run_config("floating_pt", RecordingFloat)


def connected_source(
    job: Job, network: Processes, factor: float, membrane_dtype: type
) -> MemmapSource:
    """The source of `network`, connected to it; every layer is recorded.

    Args:
        job: whose input and records.
        network: without a source.
        factor: what one unit of the input is worth.
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
    """Tell the neurons where to write; the recording models read it."""
    neurons.proc_params["record"] = job.record(index)


def run_config(tag: str, model: type) -> Loihi2SimCfg:
    """Lava's models of one tag, and the recording one for the neurons."""
    return Loihi2SimCfg(select_tag=tag, exception_proc_model_map={LIFReset: model})
