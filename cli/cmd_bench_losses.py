"""`stars bench losses`: what each loss buys over kl, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.bench import (
    ConfigOption,
    EvalOption,
    JobsOption,
    OutOption,
    SeedsOption,
    Sweep,
    TeacherOption,
    ThreadsOption,
    base_values,
    numbers,
    split,
)
from cli.options import PresetOption
from cli.output import JsonFlag, Output


def losses(
    context: typer.Context,
    out: OutOption,
    evaluated: EvalOption,
    data: Annotated[
        str,
        typer.Option(
            help=(
                "Real training images. Default: none, only synthetic images are used."
            )
        ),
    ] = "",
    names: Annotated[
        str,
        typer.Option(
            "--losses", help="Losses to compare, separated by commas. Default: all."
        ),
    ] = "",
    seeds: SeedsOption = "0,1,2",
    teacher: TeacherOption = None,
    preset: PresetOption = "default",
    config: ConfigOption = None,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 0,
    json: JsonFlag = False,
) -> None:
    """Compare every loss with kl, on synthetic and real images."""
    from stars.benchmark.cells import check_names, losses as plan
    from stars.losses import LOSSES

    output = Output.of(context, json=json)
    base = base_values(preset, config, teacher, evaluated)
    chosen = split(names) or list(LOSSES)
    check_names(chosen, LOSSES, "loss")
    cells = plan(base, chosen, numbers(seeds), data)
    sweep = Sweep(
        "losses",
        out,
        jobs,
        threads,
        ("loss", "images"),
        {"loss": "kl"},
        f"{cells[0].budget['student_steps']} student steps; steps on real images have"
        " no synthesis in their milliseconds",
    )
    sweep.run(output, cells, evaluated)
