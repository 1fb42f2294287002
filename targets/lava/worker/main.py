"""The worker: runs the job of one folder, in Lava's own Python 3.10.

    python main.py FOLDER

The client starts it in a session of its own, and always ends the whole process group
of that session.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job import Job, read_job
from network import build_fixed, build_float
from netx_file import build_netx
from supervision import Watch, prepare_process, run_network

BUILDERS: dict[str, Callable[[Job], Any]] = {
    "fixed": build_fixed,
    "float": build_float,
    "netx": build_netx,
}


def main(folder: Path) -> None:
    """Do the job of `folder`; an error is written to result.json."""
    job = read_job(folder)
    try:
        job.finish({"ok": True, **do(job)})
    except Exception:
        job.finish({"ok": False, "error": traceback.format_exc()})
        raise


def do(job: Job) -> dict[str, Any]:
    """Build the job's network and run it; returns seconds by phase."""
    started = time.monotonic()
    prepare_process(job)
    watch = Watch(job)
    watch.start()
    process, config = BUILDERS[job.mode](job)
    seconds = run_network(process, config, job, watch)
    return {**seconds, "seconds": time.monotonic() - started}


def wait_for_the_end() -> None:
    """Sleep until the client ends this process; Lava's stop() may hang forever."""
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
        wait_for_the_end()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Lava's finalizers would call stop() and wait for actors that have died.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
