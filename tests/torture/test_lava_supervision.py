"""A Lava worker that fails, dies or hangs: one clear error, soon, and nothing left.

Each fault once in every run of the tests, and twenty times by make torture.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from stars.errors import DataError, TargetError
from stars.testing.random_graphs import random_graph, random_inputs
from targets.lava import client
from targets.lava.client import lava_fixed
from targets.lava.supervision import SHARED_MEMORY, Patience, living_groups

pytestmark = [
    pytest.mark.lava,
    pytest.mark.usefixtures("lava_python"),
]

REPETITIONS = 20
SAMPLES = 20_000  # minutes of work: none of these jobs may reach its end
QUICK = Patience(stall=4.0)
SECONDS = 10.0  # from the fault to the error


@dataclass
class RunningJob:
    """A long job that a thread waits for.

    Attributes:
        temporary: where its folder is made.
        error: what came out of it, at the end.
        finished: when, by time.monotonic().
    """

    temporary: Path
    patience: Patience = QUICK
    error: TargetError | None = None
    finished: float = 0.0
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.steps() > 20, "the first steps")
        job = json.loads((self.folder() / "job.json").read_text(encoding="utf-8"))
        self.prefix = job["shared_memory_prefix"].lstrip("/")
        self.worker = os.getpgid(processes_of(self.folder())[0])
        self.memory = shared_memory_of(processes_of(self.folder()))
        assert self.memory

    def _run(self) -> None:
        try:
            run_long_job(self.patience)
        except TargetError as error:
            self.error = error
        self.finished = time.monotonic()

    def folder(self) -> Path:
        (found,) = self.temporary.glob("stars-lava-*")
        return found

    def steps(self) -> int:
        return progress(self.temporary)

    def children(self) -> list[int]:
        """Process ids of what the worker forked, Lava's processes among them."""
        return [pid for pid in processes_of(self.folder()) if pid != self.worker]

    def error_after(self, fault: Callable[[], None]) -> str:
        """The text of the TargetError that follows `fault`; checks that it is soon."""
        started = time.monotonic()
        fault()
        self.thread.join(SECONDS + 5)
        assert isinstance(self.error, TargetError), repr(self.error)
        assert self.finished - started < SECONDS
        return str(self.error)

    def assert_nothing_left(self) -> None:
        assert self.worker not in living_groups()
        assert list(SHARED_MEMORY.glob(f"{self.prefix}*")) == []
        assert [path for path in self.memory if path.exists()] == []
        assert list(self.temporary.glob("stars-lava-*")) == []


def run_long_job(patience: Patience) -> None:
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind="mlp")
    inputs = random_inputs(rng, graph, batch=SAMPLES)
    replace(lava_fixed(), patience=patience).run(graph, inputs)


def processes_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder: the worker and its forks."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(int(path.parent.name))
    return found


def shared_memory_of(processes: list[int]) -> set[Path]:
    """The shared memory objects that the processes have mapped, of whatever name."""
    maps = [Path(f"/proc/{pid}/maps").read_text(encoding="utf-8") for pid in processes]
    lines = (line.split() for text in maps for line in text.splitlines())
    paths = {Path(line[5]) for line in lines if len(line) == 6}
    return {path for path in paths if path.is_relative_to(SHARED_MEMORY)}


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture(
    autouse=True,
    params=[
        0,
        *(pytest.param(i, marks=pytest.mark.torture) for i in range(1, REPETITIONS)),
    ],
)
def repetition(request: pytest.FixtureRequest) -> int:
    """All but the first are for make torture."""
    return int(request.param)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where job folders are made; nobody else uses it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def job(temporary: Path) -> Iterator[RunningJob]:
    running = RunningJob(temporary)
    yield running
    if running.thread.is_alive():
        os.killpg(running.worker, signal.SIGKILL)
        running.thread.join(10)
    running.assert_nothing_left()


def test_an_exception_in_a_process_model_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input ends before its time: Lava's source raises in the middle of the run."""
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind="mlp")
    write_plan = client.write_plan

    def write_plan_and_cut_the_input(path: Path, plan: object) -> None:
        write_plan(path, plan)
        values = np.load(path.with_name("x.npy"))
        np.save(path.with_name("x.npy"), values[: len(values) // 2])

    monkeypatch.setattr(client, "write_plan", write_plan_and_cut_the_input)
    started = time.monotonic()
    with pytest.raises(TargetError, match="IndexError: index 40 is out of bounds"):
        lava_fixed().run(graph, random_inputs(rng, graph, batch=20))
    assert time.monotonic() - started < SECONDS
    assert list(temporary.iterdir()) == []


def test_a_killed_child_is_told(job: RunningJob) -> None:
    child = max(job.children())
    text = job.error_after(lambda: os.kill(child, signal.SIGKILL))
    assert "in the middle of the run with exit code -9" in text


def test_a_killed_worker_is_told(job: RunningJob) -> None:
    text = job.error_after(lambda: os.kill(job.worker, signal.SIGKILL))
    assert "it was killed by SIGKILL" in text


def test_a_child_that_hangs_is_told(job: RunningJob) -> None:
    child = max(job.children())
    text = job.error_after(lambda: os.kill(child, signal.SIGSTOP))
    assert "it did not move for 4 s, after" in text


def test_a_worker_that_hangs_is_told(job: RunningJob) -> None:
    text = job.error_after(lambda: os.killpg(job.worker, signal.SIGSTOP))
    assert "it gave no sign of life for 4 s" in text


def test_a_job_has_a_hard_limit(temporary: Path) -> None:
    with pytest.raises(TargetError, match="it was not done after 3 s"):
        run_long_job(Patience(total=3.0))
    assert list(temporary.iterdir()) == []


def test_nan_is_refused_before_anything_is_started(temporary: Path) -> None:
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind="mlp")
    inputs = random_inputs(rng, graph, batch=2)
    inputs[1, 1] = np.nan
    with pytest.raises(DataError, match="inputs hold NaN"):
        lava_fixed().run(graph, inputs)
    assert list(temporary.iterdir()) == []


def test_a_disk_that_is_full_for_the_client_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary / "stars-lava-full"

    def full_folder(prefix: str) -> str:
        assert prefix == "stars-lava-"
        folder.mkdir()
        (folder / "x.npy").symlink_to("/dev/full")
        return str(folder)

    monkeypatch.setattr(tempfile, "mkdtemp", full_folder)
    with pytest.raises(TargetError, match="No space left on device; free some space"):
        run_long_job(QUICK)
    assert list(temporary.iterdir()) == []


def test_a_disk_that_is_full_for_the_worker_is_told(temporary: Path) -> None:
    """No file may be larger than a megabyte: there is room for the input alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    started = time.monotonic()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(TargetError, match="File too large"):
            run_long_job(QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert time.monotonic() - started < SECONDS
    assert list(temporary.iterdir()) == []


def test_the_usual_patience_gives_up_within_ten_seconds() -> None:
    assert Patience().stall < SECONDS - 1


def test_a_killed_client_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from test_lava_supervision import QUICK, run_long_job; run_long_job(QUICK)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    dying = subprocess.Popen(command, env=environment)
    try:
        wait_until(lambda: progress(tmp_path) > 20, "the first steps")
        (folder,) = tmp_path.glob("stars-lava-*")
        job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        prefix = job["shared_memory_prefix"].lstrip("/")
        worker = os.getpgid(processes_of(folder)[0])
    finally:
        dying.kill()
        dying.wait()
    wait_until(lambda: worker not in living_groups(), "the end of the group", SECONDS)
    assert list(SHARED_MEMORY.glob(f"{prefix}*")) == []
    assert list(tmp_path.iterdir()) == []


def progress(temporary: Path) -> int:
    """Steps of the one job there; none before its file is written."""
    for path in temporary.glob("stars-lava-*/progress.npy"):
        with suppress(ValueError, EOFError):  # half of it is written
            return int(np.load(path)[1:].sum())
    return 0
