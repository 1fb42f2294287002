"""`stars compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from cli.output import JsonFlag, Output
from stars.files.writing import check_writable

if TYPE_CHECKING:
    from targets.report.side_by_side import SideBySide


def compare(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Two or more run directories.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder for compare.html and compare.json. Default: nothing is written."
            )
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compare runs: accuracy, rates, energy, parity, settings."""
    from targets.report.collect import collect
    from targets.report.side_by_side import check_count, side_by_side
    from targets.report.write import write_comparison

    output = Output.of(context, json=json)
    check_count(len(runs))
    if out is not None:
        check_writable(out)
    found = side_by_side([collect(run, simulate=False) for run in runs])
    for path in write_comparison(found, out) if out is not None else ():
        output.note(str(path))
    output.emit("stars.compare/1", found.to_json(), table(found))


def table(found: SideBySide) -> RenderableType:
    """A table of the measurements, then of the settings that differ, then of seeds."""
    rows = [(row.name, *row.cells) for row in (*found.measured, *found.differences)]
    texts = range(1, len(found.runs) + 1)
    rules = [len(found.measured)] if found.differences else []
    notes = ["in brackets: against the first run; *: the best"]
    notes += [
        f"{len(group.runs)} seeds ({', '.join(group.runs)}), {name}: {value}"
        for group in found.seeds
        for name, value in group.means.items()
    ]
    grid = Grid(("", *found.runs), rows, texts=texts, rules=rules)
    return Group(grid, Text("\n".join(notes)))
