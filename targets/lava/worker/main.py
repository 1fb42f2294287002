"""The worker: one job folder in, one answer out. Runs in Lava's own Python 3.10.

    python main.py FOLDER

The client starts it in a session of its own, and always ends that session's whole
process group, whether the job went well or not.
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
    """Do the job of `folder`; whatever goes wrong is in result.json."""
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
    """Sleep until the client ends us: Lava's own stop() may wait for ever."""
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
