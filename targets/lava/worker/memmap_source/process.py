"""MemmapSource: sends one row of a .npy file per step, and then zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class MemmapSource(AbstractProcess):
    """A source of graded messages.

    Args:
        path: .npy file of [rows, values]; values are integers.
        rows: number of rows to send; fewer in the file are an error, zeros follow.
        factor: value of one unit of the file; 1 in fixed point.
        shape: of one row, (N,) or (C, H, W).
        reverse_axes: True sends (W, H, C), which Lava's own Conv needs.
    """

    def __init__(
        self,
        *,
        path: str,
        rows: int,
        factor: float,
        shape: tuple[int, ...],
        reverse_axes: bool = False,
    ) -> None:
        super().__init__(
            path=path,
            rows=rows,
            factor=factor,
            source_shape=shape,
            reverse_axes=reverse_axes,
        )
        self.s_out = OutPort(shape=shape[::-1] if reverse_axes else shape)


class _MemmapSourceModel(PyLoihiProcessModel):
    """Base of the two models; casts each row to the port's type."""

    s_out: Any = None
    dtype: type = float

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.values = np.load(proc_params["path"], mmap_mode="r")
        self.factor = proc_params["factor"]
        self.rows = proc_params["rows"]
        self.shape = proc_params["source_shape"]
        self.reverse_axes = proc_params["reverse_axes"]

    def run_spk(self) -> None:
        """Send the row of this step; Lava's steps count from 1."""
        row = np.zeros(self.shape, self.dtype)
        if self.time_step <= self.rows:
            row[...] = self.values[self.time_step - 1].reshape(self.shape)
            row *= self.dtype(self.factor)
        self.s_out.send(row.T if self.reverse_axes else row)


@implements(proc=MemmapSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class MemmapSourceFloat(_MemmapSourceModel):
    """Sends float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    dtype = np.float64


@implements(proc=MemmapSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class MemmapSourceFixed(_MemmapSourceModel):
    """Sends int32."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    dtype = np.int32
