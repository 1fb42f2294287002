"""Runs a compiler or a compiled program with a time limit, and ends what it started."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from stars.errors import TargetError
from targets.lava.supervision import end_group, exit_text

LOG_BYTES = 4000


def run_program(
    command: Sequence[str | Path],
    folder: Path,
    what: str,
    seconds: float,
    given: bytes | None = None,
) -> None:
    """Run `command` in `folder`; returns when it has ended well.

    The program's group is ended in any case. A program that reads `given` from a pipe
    also ends when this process is killed.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        what: names it in errors.
        seconds: time limit.
        given: bytes for its standard input.

    Raises:
        TargetError: it cannot start, failed, was killed or took too long; with the end
            of its log.
    """
    log = folder / "log.txt"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
    except OSError as error:
        raise TargetError(f"{what} cannot start: {error}") from error
    with process:
        try:
            process.communicate(given, timeout=seconds)
            problem = exit_text(process.returncode) if process.returncode else None
        except subprocess.TimeoutExpired:
            problem = f"it was not done after {seconds:.0f} s"
        finally:
            end_group(process)
    if problem is not None:
        text = log.read_bytes()[-LOG_BYTES:].decode(errors="replace")
        raise TargetError(f"{what} failed: {problem}", log=text)
