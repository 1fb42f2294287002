"""Starts one worker process per job, watches it, and always cleans up after it.

Lava hangs forever when an actor dies, and leaves processes and shared memory behind
when it is killed. So the worker has its own process group and writes its progress to a
file. The group is ended and its shared memory removed in any case.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stars.errors import TargetError

WORKER = Path(__file__).with_name("worker") / "main.py"
SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps it
POLL_SECONDS = 0.02
TERM_SECONDS = 2.0
KILL_SECONDS = 10.0
LOG_LINES = 40


@dataclass(frozen=True)
class Patience:
    """How long a worker may take, in seconds.

    Args:
        start: until the first step: Lava is imported, compiled and started.
        stall: without a heartbeat or a step. A network with slow steps gets twenty
            times its slowest step so far.
        total: of the whole job.
    """

    start: float = 120.0
    stall: float = 8.0
    total: float = 3600.0


def run_worker(
    python: Path, folder: Path, prefix: str, patience: Patience
) -> dict[str, Any]:
    """Run the job of `folder` in a worker; returns its result.

    Args:
        python: of Lava's environment.
        folder: with job.json, progress.npy and the inputs.
        prefix: prefix of the names of the job's shared memory.
        patience: time limits.

    Raises:
        TargetError: the worker failed, died or hung; with the end of its log. None of
            its processes and shared memory is left.
    """
    log = folder / "log.txt"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [python, "-E", "-s", "-B", WORKER, folder],
            stdin=subprocess.DEVNULL,
            stdout=output,  # a file: orphans keep pipes open
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )
    try:
        result = wait_for_result(worker, folder, patience)
    finally:
        end_group(worker)
        remove_shared_memory(prefix)
    if not result["ok"]:
        raise TargetError(failure(result["error"]), log=tail(log, result["error"]))
    return result


def environment() -> dict[str, str]:
    """This environment without PYTHON* variables, limited to one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**kept, **dict.fromkeys(threads, "1")}


def wait_for_result(
    worker: subprocess.Popen[bytes], folder: Path, patience: Patience
) -> dict[str, Any]:
    """The worker's result, or an error result if it died or made no progress."""
    watch = ProgressWatch(folder / "progress.npy", patience)
    result = folder / "result.json"
    while True:
        if result.exists():
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return found
        code = worker.poll()
        problem = watch.problem() if code is None else exit_text(code)
        if problem is None:
            time.sleep(POLL_SECONDS)
        elif not result.exists():  # it may have come in between
            return {"ok": False, "error": problem}


class ProgressWatch:
    """Decides from progress.npy whether a worker still makes progress."""

    def __init__(self, path: Path, patience: Patience) -> None:
        self.path = path
        self.patience = patience
        self.progress = np.load(path, mmap_mode="r")
        self.started = self.last_beat = self.last_step = time.monotonic()
        self.beats = self.steps = 0
        self.slowest = 0.0

    def problem(self) -> str | None:
        """Why the worker is stopped; None while it makes progress.

        A worker that neither beats nor steps gives no sign of life. Only a heartbeat
        shows that one that does not move still lives.
        """
        now = time.monotonic()
        beats, steps = int(self.progress[0]), int(self.progress[1:].sum())
        lives = beats != self.beats
        if lives:
            self.beats, self.last_beat = beats, now
        if steps != self.steps:
            if self.steps:
                self.slowest = max(self.slowest, now - self.last_step)
            self.steps, self.last_step = steps, now
        patience = self.patience
        if now - self.started > patience.total:
            return f"it was not done after {patience.total:.0f} s"
        beat_limit = patience.stall if beats else patience.start
        if now - self.last_beat > beat_limit:
            return f"it gave no sign of life for {beat_limit:.0f} s"
        step_limit = max(patience.stall, 20 * self.slowest)
        if not steps:
            step_limit = patience.start
        if lives and now - self.last_step > step_limit:
            return (
                f"it did not move for {step_limit:.0f} s, after"
                f" {int(self.progress[1:].min())} steps"
            )
        return None


def end_group(worker: subprocess.Popen[bytes]) -> None:
    """End the worker's process group: SIGTERM, then SIGKILL.

    A killed process may write until its memory is released, so this waits for the end
    of the whole group, even if the worker itself has ended before.
    """
    group = worker.pid
    # A stopped process receives SIGTERM only when it continues.
    for number in (signal.SIGTERM, signal.SIGCONT):
        signal_group(group, number)
    if not group_ends(worker, TERM_SECONDS):
        signal_group(group, signal.SIGKILL)
        group_ends(worker, KILL_SECONDS)
    worker.wait()


def group_ends(worker: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the worker's group ends within `seconds`."""
    deadline = time.monotonic() + seconds
    while group_lives(worker):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS / 2)
    return True


def signal_group(group: int, number: signal.Signals) -> None:
    """Send the signal; does nothing if the group is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM where all are zombies
        return


def group_lives(worker: subprocess.Popen[bytes]) -> bool:
    """Whether the worker's group has a process that is no zombie."""
    if worker.poll() is None:
        return True
    if Path("/proc/self/stat").exists():
        return any(group == worker.pid for group in living_groups())
    try:
        os.killpg(worker.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def living_groups() -> list[int]:
    """The process group of every process on this machine that is no zombie."""
    groups = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        state, _parent, group = text.rpartition(")")[2].split()[:3]
        if state not in "ZX":
            groups.append(int(group))
    return groups


def remove_shared_memory(prefix: str) -> None:
    """Remove a killed worker's shared memory."""
    for path in SHARED_MEMORY.glob(f"{prefix.lstrip('/')}*"):
        path.unlink(missing_ok=True)


def exit_text(code: int) -> str:
    """A sentence about an exit code."""
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with exit code {code} and without a result"


def failure(error: str) -> str:
    """The error's last line, which in a traceback is the exception itself."""
    last = error.strip().splitlines()[-1]
    return f"the Lava worker failed: {last}; the end of its log:"


def tail(log: Path, error: str) -> str:
    """The last lines of the worker's log, with its error if the log lacks it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if "\n" in error.strip() and error.strip() not in text:
        text += error
    return "\n".join(text.splitlines()[-LOG_LINES:])
