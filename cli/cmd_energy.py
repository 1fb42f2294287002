"""`stars energy`: count what a chip would do, and what that costs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import (
    COST_TABLES,
    DtOption,
    InputsOption,
    ReplaceFlag,
    RunArgument,
    StepsOption,
    choice,
)
from cli.output import JsonFlag, Output, shown, stage_progress


def energy(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        int | None,
        typer.Option(
            help="Number of images. Default: 1000, or all if there are fewer."
        ),
    ] = None,
    inputs: InputsOption = None,
    table: Annotated[
        list[str] | None,
        choice(
            "Cost table, or a .toml file of your own; repeat for several. Default: all"
            " bundled ones.",
            COST_TABLES,
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Print counts and joules of each layer.")
    ] = False,
    explain: Annotated[
        str | None,
        choice("Cost table to print the sources and the comparison of.", COST_TABLES),
    ] = None,
    replace: ReplaceFlag = False,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Count operations exactly and price them in joules."""
    from cli.energy_view import energy_text
    from targets.api import energy as estimate

    output = Output.of(context, json=json)
    with stage_progress(output) as progress:
        found = estimate(
            run,
            inputs,
            count=images,
            tables=table or (),
            dt=dt,
            steps=steps,
            replace=replace,
            progress=lambda done, of: progress("images", done, of, {}),
        )
    text = energy_text(found, layers=layers, explain=explain)
    output.emit("stars.energy/2", found.to_json(), text)
    output.note("more: --layers, --explain TABLE, --json or energy.json of the run")
    output.next(f"stars report {shown(run)}")
