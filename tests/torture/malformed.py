"""Give readers many malformed files; run as a program, for a reader may crash.

    python malformed.py READER,...|all SEED COUNT FOLDER

Input i is made of a valid file by the random numbers of (SEED, i) alone. For each one
the reader must return or raise a StarsError. Prints one JSON object: by reader how many
were read and refused, the slowest, the peak of memory, and what went wrong, by number.
The input in work stands in FOLDER/now, should this process not survive it.
"""

from __future__ import annotations

import collections
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from changes import changed
from readers import READERS

from stars.errors import StarsError

SECONDS = 5  # that one input may take
LIMIT = 16 * 2**30  # bytes of address space: the machine has to survive too


class TooLongError(BaseException):
    """One input took longer than it may."""


def too_long(*_: object) -> None:
    raise TooLongError


def own_peak() -> int:
    """The largest memory of this program, bytes.

    On Linux `getrusage` says that of the process that started it if that was larger.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def tried(name: str, seed: int, count: int, folder: Path) -> dict[str, Any]:
    """What `count` inputs did to one reader."""
    reader = READERS[name]
    path = folder / reader.file
    reader.make(path)
    reader.read(path)
    valid = path.read_bytes()
    found: collections.Counter[str] = collections.Counter()
    wrong: dict[int, str] = {}
    slowest = 0.0
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        path.write_bytes(changed(valid, reader.changes, rng))
        (folder / "now").write_text(f"{name} {seed} {i}")
        started = time.monotonic()
        signal.alarm(SECONDS)
        try:
            reader.read(path)
            found["read"] += 1
        except StarsError as error:
            str(error).encode()
            found["refused"] += 1
        except (Exception, TooLongError):
            wrong[i] = traceback.format_exc()[-700:]
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.monotonic() - started)
    children = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak = max(own_peak(), children)
    return {
        **found,
        "slowest_s": round(slowest, 2),
        "peak_bytes": peak,
        "wrong": len(wrong),
        "first": dict(list(wrong.items())[:3]),
    }


def main(names: str, seed: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    signal.signal(signal.SIGALRM, too_long)
    chosen = READERS if names == "all" else names.split(",")
    result = {name: tried(name, seed, count, folder) for name in chosen}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
