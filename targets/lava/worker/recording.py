"""Lava's own LIFReset models that also record to memory-mapped files.

Reading a Var or using a Monitor moves one element per message, while writing to a
memory-mapped file costs almost nothing. The arithmetic is Lava's, unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifResetModelBitAcc, PyLifResetModelFloat
from lava.proc.lif.process import LIFReset


class _Recording(PyLoihiProcessModel):
    """Writes spikes, membranes and currents after the reset of each step.

    Row t of the files belongs to step t of the input. Steps before the first input
    reaches a population are not recorded.
    """

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        record = proc_params["record"]
        files = record["files"]
        self.files = {n: np.load(path, mmap_mode="r+") for n, path in files.items()}
        self.progress_file = np.load(record["progress"], mmap_mode="r+")
        self.progress_index = record["progress_index"]
        self.transport = record["transport"]

    def reset_voltage(self, spike_vector: Any) -> None:
        """Lava's reset; then the values of this step are written.

        With its own Conv, Lava uses (W, H, C); the files are flat (C, H, W).
        """
        super().reset_voltage(spike_vector)
        row = self.time_step - 1 - self.transport
        if 0 <= row < len(self.files["spikes"]):
            values = {"spikes": spike_vector, "membranes": self.v, "currents": self.u}
            for name, file in self.files.items():
                file[row] = np.asarray(values[name]).T.reshape(-1)
        self.progress_file[self.progress_index] += 1


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class RecordingFloat(_Recording, PyLifResetModelFloat):
    """The floating-point model; membranes are float64 volts above v_reset."""

    membrane_dtype = np.float64


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class RecordingFixed(_Recording, PyLifResetModelBitAcc):
    """The bit-accurate model; membranes are int32, 64 to one unit of the plan."""

    membrane_dtype = np.int32
