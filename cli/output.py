"""The output of every command: data on stdout, progress on stderr.

A command makes one Output from its context and its `--json` flag, and ends with one
`emit`: a JSON object that names its schema, or a text for people. In between, `note`
prints a line and `progress` a bar on stderr; `--quiet` silences both, and the bar is
only drawn on a terminal.
"""

from __future__ import annotations

import json as json_library
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stars.errors import DataError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text.")
]

_WIDTH_OF_A_FILE = 120


@dataclass
class Settings:
    """The options before the command: created by `main`, set by the root."""

    quiet: bool = False
    debug: bool = False


@dataclass(frozen=True)
class Output:
    """The destinations of a command's data and progress."""

    json: bool
    quiet: bool

    @classmethod
    def of(cls, context: typer.Context, *, json: bool) -> Output:
        """The output of the command that runs in `context`."""
        settings = context.find_object(Settings) or Settings()
        return cls(json=json, quiet=settings.quiet)

    def emit(
        self, schema: str, data: Mapping[str, object], text: RenderableType
    ) -> None:
        """Print the command's result, once.

        Args:
            schema: name and version of the object, as in "stars.doctor/1"; the version
                rises when a field changes its meaning or goes away.
            data: plain values only; NaN and infinity are refused.
            text: a string, or a rich table whose cells hold no markup by accident:
                wrap what a user named in `rich.markup.escape`.
        """
        try:
            self._print(schema, data, text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise  # the reader has read enough, as `head` does
        except OSError as error:
            with Path(os.devnull).open("w") as nowhere:  # else Python tries again
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            raise DataError(f"cannot print the result: {error.strerror}") from error

    def _print(
        self, schema: str, data: Mapping[str, object], text: RenderableType
    ) -> None:
        if self.json:
            document = {"schema": schema, **data}
            print(json_library.dumps(document, indent=2, allow_nan=False))
            return
        if isinstance(text, str):
            print(text)
            return
        from rich.console import Console

        known = sys.stdout.isatty() or "COLUMNS" in os.environ
        Console(width=None if known else _WIDTH_OF_A_FILE).print(text)

    def note(self, message: str) -> None:
        """Print one line of progress on stderr."""
        if not self.quiet:
            print(message, file=sys.stderr, flush=True)

    def next(self, command: str) -> None:
        """Name the command that usually follows, as the last line on stderr."""
        self.note(f"next: {command}")

    def progress(self) -> Progress:
        """A progress bar on stderr, to be used as a context manager.

        It draws nothing when stderr is not a terminal or `--quiet` was given.
        """
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=self.quiet or not console.is_terminal,
            transient=True,
        )


def shown(path: Path) -> str:
    """A path as it is typed in a shell."""
    return shlex.quote(str(path))


@contextmanager
def stage_progress(
    output: Output,
) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """A progress bar for each stage; without a terminal, a line per tenth of a stage.

    Yields what the library calls: stage, done, all, values by name.
    """
    bars = output.progress()
    tasks: dict[str, TaskID] = {}
    starts: dict[str, tuple[float, int]] = {}

    def update(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
            starts[stage] = time.monotonic(), done
        said = [f"{name} {value:.3g}" for name, value in values.items()]
        share = [f"{100 * done / total:.0f} %", *remaining(stage, done, total)]
        bars.update(tasks[stage], completed=done, description=", ".join([stage, *said]))
        tenth = done * 10 // total != (done - 1) * 10 // total
        if bars.disable and tenth:
            output.note(", ".join([f"{stage} {done}/{total}", *share, *said]))

    def remaining(stage: str, done: int, total: int) -> list[str]:
        began, first = starts[stage]
        if done in (first, total):
            return []
        left = (time.monotonic() - began) / (done - first) * (total - done)
        return [f"{left / 60:.1f} min left"]

    # Older versions of rich print an empty line at the end of a disabled bar.
    with nullcontext() if bars.disable else bars:
        yield update
