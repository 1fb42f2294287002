"""Builds a Lava network from a netx HDF5 file with lava-dl's own loader.

lava-dl imports torch and its training library, which loading a file never uses. Empty
modules of those names replace them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg

from job import Job
from memmap_source.process import MemmapSource
from network import recorded, run_config
from recording import RecordingFixed

# Graded inputs are signed 8-bit numbers; spikes go through the same port unchanged.
INPUT_BITS = 8
STAND_INS = {
    "torch": ("Tensor", "tensor", "is_tensor"),
    "lava.lib.dl.slayer": (),
    "lava.lib.dl.slayer.neuron": (),
    "lava.lib.dl.slayer.neuron.rf": ("neuron_params",),
}


def build_netx(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The network of net.net, reset after each sample, every layer recorded."""
    job.create_records(RecordingFixed.membrane_dtype)
    network = load(job)
    if len(network) != len(job.populations):
        raise ValueError(
            f"net.net has {len(network)} layers, expected {len(job.populations)}"
        )
    for index, layer in enumerate(network.layers):
        recorded(layer.neuron, job, index)
    image = len(network.inp.shape) == 3
    source = MemmapSource(
        path=str(job.folder / "x.npy"),
        rows=job.rows,
        factor=1,
        shape=job.input_shape if image else network.inp.shape,
        reverse_axes=image,
    )
    source.s_out.connect(network.inp)
    return source, run_config("fixed_pt", RecordingFixed)


def load(job: Job) -> Any:
    """lava-dl's Network; it shifts the reset by one step from layer to layer."""
    stand_in()
    from lava.lib.dl.netx.hdf5 import Network

    first = job.populations[0].transport
    return Network(
        net_config=str(job.folder / "net.net"),
        input_message_bits=INPUT_BITS,
        reset_interval=job.steps,
        reset_offset=first,
    )


def stand_in() -> None:
    """Register empty modules for imports that lava-dl does not need."""
    for name, attributes in STAND_INS.items():
        module = ModuleType(name)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, object)
        sys.modules.setdefault(name, module)
