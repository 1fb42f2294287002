"""Job folders: writes the worker's input, and reads its records as a Trace.

The docstring of `worker/job.py` lists the files of a folder.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stars.errors import LimitError, TargetError
from stars.graph.nodes import Array
from stars.graph.trace import Trace
from stars.grid.plan import STATE_SHIFT, IntegerPlan, Population
from targets.loihi.emulator import integer_inputs

Mode = Literal["fixed", "float", "netx"]


@dataclass(frozen=True)
class Job:
    """A job folder, before or after its run.

    Args:
        folder: its path.
        mode: the worker's mode.
        plan: the plan whose populations are recorded.
        steps, samples: of the input.
        shared_memory_prefix: prefix of the names of the job's shared memory.
        currents: True if synaptic currents are recorded too.
    """

    folder: Path
    mode: Mode
    plan: IntegerPlan
    steps: int
    samples: int
    shared_memory_prefix: str
    currents: bool = False


@contextmanager
def job_folder(
    plan: IntegerPlan, inputs: Array, mode: Mode, *, currents: bool = False
) -> Iterator[Job]:
    """A new job folder, removed at the end in any case.

    Args:
        plan: see `Job`; the caller adds the network itself.
        inputs: [T, B, *input shape].
        mode: see `Job`.
        currents: see `Job`.

    Raises:
        DataError: an input is not one of the integers that the plan allows.
        TargetError: the disk is full, or the folder cannot be written.
    """
    steps, samples = inputs.shape[:2]
    integers = integer_inputs(plan, inputs).astype(np.int8)
    rows = np.broadcast_to(integers, (steps, *integers.shape[1:])).swapaxes(0, 1)
    folder = make_folder()
    prefix = f"/stars_{secrets.token_hex(8)}_"
    job = Job(folder, mode, plan, steps, samples, prefix, currents)
    try:
        with telling(folder):
            np.save(folder / "x.npy", rows.reshape(samples * steps, -1))
            progress = np.zeros(len(plan.populations) + 1, np.int64)
            np.save(folder / "progress.npy", progress)
            text = json.dumps(description(job))
            (folder / "job.json").write_text(text, encoding="utf-8")
        yield job
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder() -> Path:
    """A new temporary folder.

    Raises:
        TargetError: it cannot be made.
    """
    with telling(Path(tempfile.gettempdir())):
        return Path(tempfile.mkdtemp(prefix="stars-lava-"))


@contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Turns an OSError of its block into a TargetError.

    Raises:
        TargetError: with the system's message.
    """
    try:
        yield
    except OSError as error:
        raise TargetError(
            f"lava: cannot write to '{folder}': {error.strerror}; free some space, or"
            " set TMPDIR to a folder with more"
        ) from error


def description(job: Job) -> dict[str, object]:
    """The content of job.json."""
    return {
        "mode": job.mode,
        "samples": job.samples,
        "steps": job.steps,
        "input_shape": job.plan.input_shape,
        "populations": [
            {"name": p.name, "size": math.prod(p.shape), "transport": p.latency + 1}
            for p in job.plan.populations
        ],
        "parent": os.getpid(),
        "shared_memory_prefix": job.shared_memory_prefix,
        "currents": job.currents,
    }


def read_trace(job: Job) -> Trace:
    """The worker's records, in volts and aligned to the input's steps.

    Raises:
        TargetError: a population did not run all its steps.
        LimitError: the readout spiked, because its membrane does not fit the chip.
    """
    check_complete(job)
    spikes, membranes, currents = {}, {}, {}
    for index, population in enumerate(job.plan.populations):
        fired = read_record(job, "spikes", index)
        v = read_volts(job, "membranes", index)
        membranes[population.name] = v + population.offset
        if job.currents:
            currents[population.name] = read_volts(job, "currents", index)
        if population.spiking:
            spikes[population.name] = fired.astype(np.bool_)
        elif fired.any():
            raise LimitError("lava", [out_of_range(population)])
    return Trace(spikes, membranes, job.plan.populations[-1].name, currents)


def read_volts(job: Job, kind: str, index: int) -> Array:
    """Record `kind` of population `index` in volts, [T, B, *shape]."""
    values = read_record(job, kind, index).astype(np.float64)
    if job.mode == "float":
        return values
    exponent = job.plan.populations[index].exponent - STATE_SHIFT
    volts: Array = np.ldexp(values, exponent)
    return volts


def read_record(job: Job, kind: str, index: int) -> NDArray[np.generic]:
    """Record `kind` of population `index`, [T, B, *shape]."""
    rows = np.load(job.folder / f"{kind}_{index}.npy", mmap_mode="r")
    shape = (job.samples, job.steps, *job.plan.populations[index].shape)
    return np.ascontiguousarray(rows.reshape(shape).swapaxes(0, 1))


def check_complete(job: Job) -> None:
    """Refuse records of an incomplete run.

    Raises:
        TargetError: names every population that lacks steps.
    """
    expected = job.samples * job.steps + 1
    expected += max(p.latency for p in job.plan.populations)
    done = np.load(job.folder / "progress.npy")[1:]
    short = {
        p.name: int(n)
        for p, n in zip(job.plan.populations, done, strict=True)
        if n != expected
    }
    if short:
        raise TargetError(f"lava ran {short} steps, expected {expected}")


def out_of_range(population: Population) -> str:
    """The text of a violation that only a run can find."""
    limit = (2**17 - 1) * 2.0**population.exponent
    return (
        f"node {population.name!r}: its membrane exceeded {limit} V, the largest"
        " threshold of the chip; use fewer steps or smaller weights"
    )
