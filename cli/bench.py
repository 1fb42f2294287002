"""Options, base configuration and output that the `stars bench` commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import Output

if TYPE_CHECKING:
    from stars.benchmark.sweep import Cell, Row

PROGRAM = (sys.executable, "-m", "stars", "--quiet")

OutOption = Annotated[
    Path,
    typer.Option(
        help=("Folder for the results. Cells that it already holds are not run again.")
    ),
]
EvalOption = Annotated[
    str,
    typer.Option(
        "--eval",
        help=("Real images for the accuracies, for example mnist:ROOT@train[:5000]."),
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file of settings that all cells share.")
]
TeacherOption = Annotated[
    str | None, typer.Option(help="Teacher, as in `stars distill`.")
]
SeedsOption = Annotated[str, typer.Option(help="Seeds, separated by commas.")]
JobsOption = Annotated[
    int, typer.Option(min=1, help="Number of processes to run at the same time.")
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        min=0, help="Threads of each process; 0 divides the cores among them."
    ),
]


@dataclass(frozen=True)
class Sweep:
    """How a sweep runs and is shown.

    Args:
        name: of the benchmark; of its two files.
        out: the folder.
        jobs, threads: processes at a time, and threads of each.
        labels: what tells the cells apart but for the seed.
        base: the label that gains are over.
        budget: in words.
    """

    name: str
    out: Path
    jobs: int
    threads: int
    labels: Sequence[str]
    base: Mapping[str, str]
    budget: str

    def run(
        self,
        output: Output,
        cells: Sequence[Cell],
        evaluated: str,
        more: Sequence[Row] = (),
    ) -> None:
        """Run, write NAME.json and NAME.md, print, and exit with 1 if a cell failed."""
        from stars.benchmark import sweep
        from stars.data.images import kind_of
        from stars.files.writing import write_json, write_text

        check_inputs(cells)
        output.note(f"budget of every cell: {self.budget}")
        threads = self.threads or max(1, (os.cpu_count() or 1) // self.jobs)
        rows = [
            *sweep.run(
                cells,
                self.out,
                PROGRAM,
                jobs=self.jobs,
                threads=threads,
                note=output.note,
            ),
            *more,
        ]
        found = sweep.summary(rows, self.labels, self.base)
        data = {
            "evaluated_on": {"data": evaluated, "kind": kind_of(evaluated)},
            "budget": self.budget,
            "threads": threads,
            "summary": found,
            "rows": rows,
        }
        title = (
            f"Last-epoch accuracy on the {kind_of(evaluated)} images {evaluated}; mean"
            f" +- sd over the seeds; budget: {self.budget}."
        )
        text = sweep.markdown(found, self.labels, title)
        schema = f"stars.bench.{self.name}/1"
        write_json(self.out / f"{self.name}.json", {"schema": schema, **data})
        write_text(self.out / f"{self.name}.md", text)
        output.emit(schema, data, text)
        if any(row["error"] is not None for row in rows):
            raise typer.Exit(1)


def check_inputs(cells: Sequence[Cell]) -> None:
    """Read every teacher and data set once, before the first cell starts.

    Raises:
        StarsError: one of them cannot be read.
    """
    from stars.distillation.inputs import read_inputs

    configs = [cell.config for cell in cells]
    for one in {(repr(c.teacher), c.test_data, c.data): c for c in configs}.values():
        read_inputs(one)


def base_values(
    preset: str, config: Path | None, teacher: str | None, evaluated: str
) -> dict[str, Any]:
    """The settings of all cells: the flags override the file, the file the preset.

    Raises:
        ConfigError: an unknown preset, or a file that cannot be read.
    """
    from stars.benchmark.cells import FRESH
    from stars.config.models import read_toml
    from stars.config.presets import merged, preset_values

    given = merged(FRESH, {} if config is None else read_toml(config))
    values = merged(preset_values(preset, given), given)
    flags = {} if teacher is None else {"teacher": {"source": teacher}}
    return merged(values, {**flags, "test_data": evaluated})


def split(text: str) -> list[str]:
    """The names in a text with commas."""
    return [name for name in text.split(",") if name]


def numbers(text: str) -> list[int]:
    """The integers in a text with commas.

    Raises:
        ConfigError: something else.
    """
    from stars.errors import ConfigError

    try:
        return [int(name) for name in split(text)]
    except ValueError as error:
        raise ConfigError(f"--seeds {text!r}: {error}") from error
