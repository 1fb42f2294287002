"""`stars energy`: count what a chip would do, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DtOption, InputsOption, RunArgument, StepsOption
from cli.output import JsonFlag, Output, stage_progress


def energy(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        int | None, typer.Option(help="How many images; default: 1000, or all.")
    ] = None,
    inputs: InputsOption = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this cost table. Repeatable.")
    ] = None,
    costs: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.toml", help="A table of yours too. Repeatable."),
    ] = None,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Count synaptic operations and updates exactly, and price them per layer."""
    from cli.energy_view import energy_text
    from stars.files.writing import write_json
    from targets.energy_model.counts import count, simulated
    from targets.energy_model.report import report
    from targets.hardware.costs import TABLES, load_table, read_table
    from targets.inputs import first
    from targets.subject import Subject

    output = Output.of(context, json=json)
    tables = [load_table(name) for name in dict.fromkeys(table or TABLES)]
    tables += [read_table(path) for path in costs or []]
    subject = Subject.open(run, dt=dt, steps=steps)
    from targets.energy_model.teacher import teacher_of  # torch, once the run is found

    available = subject.inputs(inputs)
    taken = first(available, min(1000, len(available)) if images is None else images)
    with stage_progress(output) as progress:
        chunks = simulated(
            subject.graph, taken, lambda done, of: progress("images", done, of, {})
        )
        counts = count(subject.graph, chunks)
    found = report(counts, tables, teacher_of(subject.run, taken))
    data = found.to_json()
    if subject.run is not None:
        write_json(subject.run.path / "energy.json", data)
    output.emit("stars.energy/1", data, energy_text(found))
