"""Kill a distillation, resume it, compare; run as a program, for it forks.

    python kills.py SEED COUNT CONFIG FOLDER

Distills by `stars distill --config CONFIG` once without a kill, then COUNT times with
one to three: at a random time, when a write is half done, or before a rename; every
fourth time by Ctrl-C instead. Prints one JSON object: how each attempt ended, and which
files differ in the end. A fork per attempt: importing torch and its compiler takes
seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._inductor.compile_fx  # before the forks, as all that is not used here

import stars.distillation.loop  # noqa: F401
from cli.main import main as stars_main

SAME = [
    "student.safetensors",
    "student_float.safetensors",
    "artifacts/student.nir",
    "synthetic.png",
]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, function: Callable[..., Any], last: Callable[..., Any]) -> Any:
    """`function`, but `last` at its call of this number."""
    calls = 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return (last if calls == number else function)(*arguments)

    return counted


def half_written(path: Path, content: Any) -> None:
    with path.open("wb") as file:
        file.write(bytes(content)[: len(content) // 2])
    die()


def prepare(way: str, number: int) -> None:
    """Arrange in a fork for its death."""
    if way == "half a write":
        Path.write_bytes = at_call(number, Path.write_bytes, half_written)  # type: ignore[method-assign]
    elif way == "before a rename":
        os.fsync = at_call(number, os.fsync, die)
    elif way == "after a rename":
        Path.replace = at_call(number, Path.replace, after_replace(Path.replace))  # type: ignore[method-assign]


def after_replace(replace: Callable[..., Any]) -> Callable[..., Any]:
    def last(*arguments: Any) -> None:
        replace(*arguments)
        die()

    return last


def attempt(config: Path, run: Path, way: str, number: int, seconds: float) -> int:
    """The exit code of one `stars distill`, resumed where there is a run."""
    arguments = ["--quiet", "distill", "--config", str(config), "--out", str(run)]
    resume = ["--resume"] if (run / "config.toml").is_file() else []
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        prepare(way, number)
        os._exit(stars_main([*arguments, *resume]))
    if way in ("time", "Ctrl-C"):
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL if way == "time" else signal.SIGINT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(config: Path, run: Path, seed: int, i: int, whole: float) -> dict[str, Any]:
    """One distillation with kills: how its attempts ended, and what differs from A."""
    rng = np.random.default_rng((seed, i))
    ways = ["time", "half a write", "before a rename", "after a rename"]
    ends = []
    for _ in range(int(rng.integers(1, 4))):
        way = "Ctrl-C" if i % 4 == 3 else ways[rng.integers(len(ways))]
        number, seconds = int(rng.integers(1, 25)), float(rng.uniform(0, whole))
        ends.append([way, attempt(config, run, way, number, seconds)])
    ends.append(["no kill", attempt(config, run, "no kill", 0, 0)])
    desired = run.parent / "whole"
    differ = [f for f in SAME if (run / f).read_bytes() != (desired / f).read_bytes()]
    left = [str(p) for p in run.rglob(".*")]
    return {"ends": ends, "differ": differ, "left": left}


def main(seed: int, count: int, config: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    started = time.monotonic()
    code = attempt(config, folder / "whole", "no kill", 0, 0)
    whole = time.monotonic() - started
    runs = [killed(config, folder / str(i), seed, i, whole) for i in range(count)]
    print(json.dumps({"whole": code, "seconds": whole, "runs": runs}, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
