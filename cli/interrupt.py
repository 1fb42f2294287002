"""Ctrl-C during a distillation: finish the round and write its checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.output import Output

Progress = Callable[[str, int, int, dict[str, float]], None]


@contextmanager
def ending_rounds(
    output: Output, progress: Progress, *, alone: bool = True
) -> Iterator[Progress]:
    """Make Ctrl-C wait for the next call of the progress that this yields.

    The loop calls it after each checkpoint, and after each step on the grid, which a
    resumed run does again. A second Ctrl-C does not wait.

    Args:
        output: of the command.
        progress: called by the one that it yields.
        alone: no other process takes part; those would not wait, so nor does this one.

    Raises:
        KeyboardInterrupt: at that call.
    """
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        output.note("stopping after this round; --resume goes on (again: stop at once)")

    def update(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        progress(stage, done, total, values)
        if asked:
            raise KeyboardInterrupt

    if not alone or threading.current_thread() is not threading.main_thread():
        yield update  # only the main thread may ask for signals
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield update
    finally:
        signal.signal(signal.SIGINT, before)
