"""`stars check`: does a network fit a chip, and how many cores and chips it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import CHIPS, DtOption, RunArgument, StepsOption, choice
from cli.output import JsonFlag, Output, shown


def check(
    context: typer.Context,
    run: RunArgument,
    chip: Annotated[str, choice("Chip whose limits apply.", CHIPS)] = "loihi2",
    limits: Annotated[
        Path | None,
        typer.Option(help="TOML file with your own limits; replaces --chip."),
    ] = None,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Check a network against the limits of a chip.

    Counts neurons, synapses, axons and bits, and places the layers on cores. For a
    microcontroller, counts flash, RAM, stack and operations of the C.

    Exit code 4 if something does not fit; every violation is named with its source.
    """
    from cli.check_view import check_text, program_text
    from targets.chip.fit import fit
    from targets.chip.program import fit_program
    from targets.hardware.limits import load_limits
    from targets.subject import Subject

    output = Output.of(context, json=json)
    subject = Subject.open(run, dt=dt, steps=steps)
    limited = load_limits(chip, limits)
    if limited.microcontroller:
        program = fit_program(subject.graph, limited)
        output.emit("stars.check/1", program.to_json(), program_text(program))
        program.require()
        output.next(f"stars export {shown(run)} --target c")
        return
    report = fit(subject.graph, limited)
    output.emit("stars.check/1", report.to_json(), check_text(report))
    report.require()
    output.next(f"stars export {shown(run)}")
