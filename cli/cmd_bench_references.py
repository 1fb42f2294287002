"""`stars bench references`: what data-free distillation is to be held against."""

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
)
from cli.options import PresetOption
from cli.output import JsonFlag, Output


def references(
    context: typer.Context,
    out: OutOption,
    evaluated: EvalOption,
    data: Annotated[str, typer.Option(help="Real training images with labels.")],
    seeds: SeedsOption = "0,1,2",
    teacher: TeacherOption = None,
    preset: PresetOption = "default",
    config: ConfigOption = None,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 0,
    json: JsonFlag = False,
) -> None:
    """Compare data-free with real data, labels, conversion."""
    from stars.benchmark.cells import references as plan
    from stars.benchmark.conversion import conversion_row
    from stars.config.models import DistillConfig, validated

    output = Output.of(context, json=json)
    base = base_values(preset, config, teacher, evaluated)
    cells = plan(base, numbers(seeds), data)
    sweep = Sweep(
        "references",
        out,
        jobs,
        threads,
        ("way",),
        {"way": "data-free"},
        f"{cells[0].budget['student_steps']} student steps; none for conversion",
    )
    settings = validated(DistillConfig, base, "configuration")
    converted = {"way": "converted", "seed": 0, **conversion_row(settings)}
    sweep.run(output, cells, evaluated, [converted])
