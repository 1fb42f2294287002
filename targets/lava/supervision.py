"""One worker process per job: started, watched, and always ended with all it started.

Lava hangs for ever when an actor dies, and leaves processes and shared memory behind
when it is killed. So the worker lives in a process group of its own, tells its progress
in a file, and whatever happens the group and its shared memory are removed afterwards.
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
        start: until its first step; importing, compiling and starting Lava.
        stall: without a sign of life, or without a step. A network whose steps are
            slow is given twenty times its slowest step so far.
        total: for the whole job.
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
        prefix: how the names of the job's shared memory begin.
        patience: how long it may take.

    Raises:
        TargetError: the worker failed, died or hung; with the end of its log. No
            process and no shared memory of it is left, whatever happened.
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
    """Ours, without what would change the other Python, and one thread each."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**kept, **dict.fromkeys(threads, "1")}


def wait_for_result(
    worker: subprocess.Popen[bytes], folder: Path, patience: Patience
) -> dict[str, Any]:
    """What the worker wrote; an error result when it died or does not move any more."""
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
    """Judges from progress.npy whether a worker still moves."""

    def __init__(self, path: Path, patience: Patience) -> None:
        self.path = path
        self.patience = patience
        self.progress = np.load(path, mmap_mode="r")
        self.started = self.last_beat = self.last_step = time.monotonic()
        self.beats = self.steps = 0
        self.slowest = 0.0

    def problem(self) -> str | None:
        """Why the worker is given up; None while it moves."""
        now = time.monotonic()
        beats, steps = int(self.progress[0]), int(self.progress[1:].sum())
        if beats != self.beats:
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
        if now - self.last_step > step_limit:
            return (
                f"it did not move for {step_limit:.0f} s, after"
                f" {int(self.progress[1:].min())} steps"
            )
        return None


def end_group(worker: subprocess.Popen[bytes]) -> None:
    """End the worker and everything in its process group, politely, then surely.

    A killed process may still write until its memory was given back, so its end is
    waited for too, also where the worker itself has gone before.
    """
    group = worker.pid
    # A stopped process takes its SIGTERM when it continues.
    for number in (signal.SIGTERM, signal.SIGCONT):
        signal_group(group, number)
    if not group_ends(worker, TERM_SECONDS):
        signal_group(group, signal.SIGKILL)
        group_ends(worker, KILL_SECONDS)
    worker.wait()


def group_ends(worker: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the worker's group ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while group_lives(worker):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS / 2)
    return True


def signal_group(group: int, number: signal.Signals) -> None:
    """Send the signal; nobody being there is fine."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM where all are zombies
        return


def group_lives(worker: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the worker's group is more than a zombie."""
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
    """The process group of every process of this machine that is not a zombie."""
    groups = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended while we looked
            continue
        state, _parent, group = text.rpartition(")")[2].split()[:3]
        if state not in "ZX":
            groups.append(int(group))
    return groups


def remove_shared_memory(prefix: str) -> None:
    """Remove what a killed worker left in shared memory."""
    for path in SHARED_MEMORY.glob(f"{prefix.lstrip('/')}*"):
        path.unlink(missing_ok=True)


def exit_text(code: int) -> str:
    """What an exit code says."""
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with exit code {code} and without a result"


def failure(error: str) -> str:
    """The error's last line, which in a traceback is the exception itself."""
    last = error.strip().splitlines()[-1]
    return f"the Lava worker failed: {last}; the end of its log:"


def tail(log: Path, error: str) -> str:
    """The last lines of what the worker printed, and its error where that is longer."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if "\n" in error.strip() and error.strip() not in text:
        text += error
    return "\n".join(text.splitlines()[-LOG_LINES:])
