"""`stars bench ablation`: every data-free method, plain and with RCA and TAR."""

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

ALL = "forgetful,deepinversion,dafl,dfq,cmi,fast"


def ablation(
    context: typer.Context,
    out: OutOption,
    evaluated: EvalOption,
    methods: Annotated[
        str, typer.Option(help="Methods to compare, separated by commas.")
    ] = ALL,
    variants: Annotated[
        str,
        typer.Option(
            help=("Combinations to run, separated by commas: base, rca, tar, both.")
        ),
    ] = "base,rca,tar,both",
    seeds: SeedsOption = "0,1,2",
    passes: Annotated[
        int,
        typer.Option(
            min=1,
            help=(
                "Budget of each cell: batches that the teacher judges during synthesis."
            ),
        ),
    ] = 800,
    rca: Annotated[
        str | None,
        typer.Option(
            help=("The RCA prior with its options, for example relational:weight=2.")
        ),
    ] = None,
    tar: Annotated[
        str | None,
        typer.Option(
            help=("The TAR prior with its options, for example tail:variant=relu.")
        ),
    ] = None,
    teacher: TeacherOption = None,
    preset: PresetOption = "default",
    config: ConfigOption = None,
    jobs: JobsOption = 1,
    threads: ThreadsOption = 0,
    json: JsonFlag = False,
) -> None:
    """Compare methods with and without RCA and TAR."""
    from stars.benchmark.cells import STARS_TERMS, ablation as plan
    from stars.config.models import term_values

    output = Output.of(context, json=json)
    base = base_values(preset, config, teacher, evaluated)
    given = {"rca": rca, "tar": tar}
    terms = {
        name: STARS_TERMS[name] if text is None else term_values(text)
        for name, text in given.items()
    }
    cells = plan(base, split(methods), split(variants), numbers(seeds), passes, terms)
    one = cells[0].budget
    sweep = Sweep(
        "ablation",
        out,
        jobs,
        threads,
        ("method", "variant"),
        {"variant": "base"},
        f"{passes} teacher passes in synthesis ({one['teacher_images']} images),"
        f" {one['student_steps']} student steps",
    )
    sweep.run(output, cells, evaluated)
