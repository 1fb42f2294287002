"""`stars parity`: run the exported file on every target and compare every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DtOption, InputsOption, RunArgument, StepsOption
from cli.output import JsonFlag, Output, stage_progress
from stars.errors import ConfigError


def parity(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        int | None, typer.Option(help="How many images; default: all.")
    ] = None,
    lava_images: Annotated[int, typer.Option(help="At most, on Lava.")] = 32,
    target: Annotated[
        list[str] | None, typer.Option(help="Only this one. Repeatable.")
    ] = None,
    inputs: InputsOption = None,
    substitute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Run this target on another file: must fail. Repeatable.",
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(help="Compare with this target.")
    ] = "reference",
    onnx: Annotated[
        Path | None, typer.Option(help="The ONNX file; default: the run's own.")
    ] = None,
    forced_images: Annotated[
        int, typer.Option(help="How many images state-forced; 0: none.")
    ] = 32,
    dump: Annotated[
        Path | None, typer.Option(help="Folder for the traces of every target.")
    ] = None,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare every spike and membrane of every target with the reference.

    Exit code 3 if one differs; its layer, step and neuron are named. Of a .nir file,
    targets that cannot express it are left out with the reason, unless named.
    """
    from cli.parity_view import parity_text
    from stars.runtime.allocator import keep_freed_memory
    from targets.api import parity as compare

    keep_freed_memory()
    output = Output.of(context, json=json)
    files = parse_substitutes(substitute or [])
    with stage_progress(output) as progress:
        report = compare(
            run,
            inputs,
            on=target or (),
            count=images,
            lava_images=lava_images,
            forced_images=forced_images,
            against=against,
            onnx=onnx,
            substitutes=files,
            dump=dump,
            dt=dt,
            steps=steps,
            progress=lambda name, done, of: progress(name, done, of, {}),
        )
    output.emit("stars.parity/1", report.to_json(), parity_text(report))
    if not report.ok:
        raise typer.Exit(3)


def parse_substitutes(given: list[str]) -> dict[str, Path]:
    """NAME=FILE, several times.

    Raises:
        ConfigError: something else.
    """
    files = {}
    for text in given:
        name, _, file = text.partition("=")
        if not (name and file):
            raise ConfigError(f"--substitute {text}: expected NAME=FILE")
        files[name] = Path(file)
    return files
