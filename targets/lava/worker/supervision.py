"""Runs a Lava network so that it cannot hang silently.

An exception in a process model, or a killed child, makes Lava wait forever. A thread
watches the actors and this process's parent. It writes an actor's error to result.json,
and ends and removes everything if the parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from multiprocessing import shared_memory
from typing import Any

import numpy as np
from lava.magma.compiler.compiler import Compiler
from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.runtime.runtime import Runtime

from job import HEARTBEAT, Job

POLL_SECONDS = 0.1
# Time after the first failure, so that its cause arrives too.
GRACE_SECONDS = 0.3
# Two slots are enough, and cut shared memory from 28 MB to 1.
COMPILE_CONFIG = {"pypy_channel_size": 2}


class Watch(threading.Thread):
    """Writes the heartbeat, and ends the job if an actor or the parent has died.

    Attributes:
        runtime: the runtime whose actors are watched; None before and after the run.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(name="watch", daemon=True)
        self.job = job
        self.runtime: Runtime | None = None

    def run(self) -> None:
        """Poll until the process ends."""
        progress = np.load(self.job.folder / "progress.npy", mmap_mode="r+")
        while True:
            progress[HEARTBEAT] += 1
            if os.getppid() != self.job.parent:
                leave_nothing(self.job)
            if failures(self.runtime):
                time.sleep(GRACE_SECONDS)
                self.give_up()
            time.sleep(POLL_SECONDS)

    def give_up(self) -> None:
        """Report the actors' errors, unless the run has ended without errors."""
        found = failures(self.runtime)
        if found:
            self.job.finish({"ok": False, "error": "\n".join(found)})
            os._exit(1)  # the client ends the children


def failures(runtime: Runtime | None) -> list[str]:
    """One text for each actor of the runtime that is dead or has raised."""
    if runtime is None or runtime._messaging_infrastructure is None:
        return []
    actors = enumerate(list(runtime._messaging_infrastructure.actors))
    texts = [failure(actor, number) for number, actor in actors]
    return [text for text in texts if text]


def failure(actor: Any, number: int) -> str:
    """The error that ended the actor; empty while it lives."""
    try:
        if actor.exception:
            return str(actor.exception[1])  # the traceback
        if actor.is_alive():
            return ""
        code = f"exit code {actor.exitcode}"
    except (ValueError, OSError):  # Lava has just closed it
        code = "an exception" if actor._exception is None else actor._exception[1]
    return f"Lava's process number {number} ended in the middle of the run with {code}"


def leave_nothing(job: Job) -> None:
    """Remove the job's folder and end the whole process group."""
    shutil.rmtree(job.folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGTERM)


def run_network(
    process: AbstractProcess, config: Loihi2SimCfg, job: Job, watch: Watch
) -> dict[str, Any]:
    """Run the network of `process` to its end; returns seconds by phase.

    It does what Process.create_runtime, run and wait do, but the actors are watched
    while they start. It never calls stop(): the client ends the group.
    """
    started = time.monotonic()
    executable = Compiler(dict(COMPILE_CONFIG)).compile(process, config)
    runtime = Runtime(executable, ActorType.MultiProcessing)
    executable.assign_runtime_to_all_processes(runtime)
    watch.runtime = runtime
    runtime.initialize()
    ready = time.monotonic()
    runtime.start(RunSteps(num_steps=job.total_steps, blocking=False))
    runtime.wait()
    watch.runtime = None
    return {"build_seconds": ready - started, "run_seconds": time.monotonic() - ready}


def prepare_process(job: Job) -> None:
    """Prepare this process so that the client can clean up after it.

    Names of shared memory begin with the job's prefix, so that the client can remove
    it. Temporary files and sockets go to the job's folder, by the relative path ".",
    because its full path may be too long for a socket. On Linux children end with their
    parent.
    """
    tempfile.tempdir = "."
    shared_memory._SHM_NAME_PREFIX = job.shared_memory_prefix  # type: ignore[attr-defined]
    length = len(job.shared_memory_prefix) + 16
    shared_memory._SHM_SAFE_NAME_LENGTH = length  # type: ignore[attr-defined]
    if sys.platform == "linux":
        os.register_at_fork(after_in_child=die_with_parent)


def die_with_parent() -> None:
    """Ask Linux for a SIGTERM when the parent ends."""
    parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)
