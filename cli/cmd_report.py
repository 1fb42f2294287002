"""`stars report`: one page about a run, its data, and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DtOption, InputsOption, RunArgument, StepsOption
from cli.output import JsonFlag, Output, shown
from stars.errors import ConfigError
from stars.files.writing import check_writable


def report(
    context: typer.Context,
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to. Default: the run directory."),
    ] = None,
    inputs: InputsOption = None,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Write report.html, report.json and a model card.

    What was not measured is left out and named, with the command that measures it.
    """
    from targets.report.collect import collect, picture
    from targets.report.sentences import verdict
    from targets.report.write import write_report
    from targets.subject import check_there

    output = Output.of(context, json=json)
    check_there(run)
    if out is None and not run.is_dir():
        raise ConfigError(f"'{run}' is not a run directory; pass --out FOLDER")
    check_writable(run if out is None else out)
    found = collect(run, inputs=inputs, dt=dt, steps=steps)
    paths = write_report(found, picture(run), run if out is None else out)
    said = verdict(found)
    lines = [f"{said.sentence}. {said.detail}", *map(str, paths)]
    output.emit("stars.report/1", found.to_json(), "\n".join(lines))
    for warning in found.warnings:
        output.note(f"warning: {warning}")
    for one in found.missing:
        remedy = f"; run '{one.remedy}'" if one.remedy else ""
        output.note(f"{one.section}: {one.reason}{remedy}")
    output.next(f"open {shown(paths[0])} in a browser")
