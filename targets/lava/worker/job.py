"""A job folder: the client's request and the worker's records.

job.json           in: this file's `Job`
plan.npz           in: the integers (modes fixed and float)
net.net            in: the netx file (mode netx)
x.npy              in: integers [samples * steps, inputs]
progress.npy       out: int64, a heartbeat, then each population's steps so far
spikes_<i>.npy     out: bool [samples * steps, neurons] of population i
membranes_<i>.npy  out: int32 (64 to a unit) or float64 (volts above v_reset)
currents_<i>.npy   out: the same types, if requested
result.json        out: {"ok": true, ...} or {"ok": false, "error": ...}
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEARTBEAT = 0


@dataclass(frozen=True)
class RecordedPopulation:
    """One recorded population.

    Args:
        name: of the node.
        size: number of neurons.
        transport: steps until an input reaches it, one for each connection.
    """

    name: str
    size: int
    transport: int


@dataclass(frozen=True)
class Job:
    """The content of job.json.

    Args:
        folder: the job's folder.
        mode: a key of `main.BUILDERS`.
        samples, steps: of the input; samples run one after the other.
        input_shape: without steps and samples.
        populations: in execution order.
        parent: process id of the client; the worker ends when the client is gone.
        shared_memory_prefix: prefix of the names of all shared memory of this job.
        currents: True if synaptic currents are recorded too.
    """

    folder: Path
    mode: str
    samples: int
    steps: int
    input_shape: tuple[int, ...]
    populations: tuple[RecordedPopulation, ...]
    parent: int
    shared_memory_prefix: str
    currents: bool

    @property
    def rows(self) -> int:
        """Steps of input."""
        return self.samples * self.steps

    @property
    def total_steps(self) -> int:
        """Steps to run until the last population has seen the last input."""
        return self.rows + max(p.transport for p in self.populations)

    def record(self, index: int) -> dict[str, Any]:
        """The files that population `index` writes."""
        kinds = ("spikes", "membranes", *(("currents",) if self.currents else ()))
        return {
            "files": {kind: str(self.folder / f"{kind}_{index}.npy") for kind in kinds},
            "progress": str(self.folder / "progress.npy"),
            "progress_index": index + 1,
            "transport": self.populations[index].transport,
        }

    def create_records(self, membrane_dtype: type) -> None:
        """Create the files that the populations write."""
        for index, population in enumerate(self.populations):
            shape = (self.rows, population.size)
            for kind, path in self.record(index)["files"].items():
                dtype = np.bool_ if kind == "spikes" else membrane_dtype
                np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
                reserve(Path(path))

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result atomically; a first result is never replaced."""
        path = self.folder / "result.json"
        temporary = self.folder / f"result.json.{os.getpid()}"
        temporary.write_text(json.dumps(result), encoding="utf-8")
        if not path.exists():
            temporary.replace(path)


def reserve(path: Path) -> None:
    """Reserve the disk space now; a full disk would later kill a Lava process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def read_job(folder: Path) -> Job:
    """The job of `folder`."""
    text = (folder / "job.json").read_text(encoding="utf-8")
    values = json.loads(text)
    populations = tuple(RecordedPopulation(**p) for p in values.pop("populations"))
    input_shape = tuple(values.pop("input_shape"))
    return Job(
        folder=folder, populations=populations, input_shape=input_shape, **values
    )
