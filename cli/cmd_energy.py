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
from cli.output import JsonFlag, Output, stage_progress


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
    output.emit("stars.energy/2", found.to_json(), energy_text(found))
