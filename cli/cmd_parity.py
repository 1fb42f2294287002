"""`stars parity`: run the exported file on every target and compare every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    TARGETS,
    DtOption,
    InputsOption,
    ReplaceFlag,
    RunArgument,
    StepsOption,
    choice,
)
from cli.output import JsonFlag, Output, shown, stage_progress
from stars.errors import ConfigError


def parity(
    context: typer.Context,
    run: RunArgument,
    images: Annotated[
        int | None, typer.Option(help="Number of images. Default: all.")
    ] = None,
    lava_images: Annotated[
        int | None,
        typer.Option(
            help=(
                "Largest number of images on Lava, which is slow. Default: 32, or as "
                "many as make 4 million neuron-steps."
            )
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        choice(
            "Target to run; repeat for several. Default: all available ones (see `stars"
            " targets`).",
            TARGETS,
        ),
    ] = None,
    inputs: InputsOption = None,
    substitute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help=(
                "Run this target on another file, which must fail the "
                "comparison. Repeat for several."
            ),
        ),
    ] = None,
    against: Annotated[
        str, choice("Target that the others are compared with.", TARGETS)
    ] = "reference",
    onnx: Annotated[
        Path | None, typer.Option(help="ONNX file to run. Default: that of the run.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Lava bundle whose files must be those of the network. Default: that "
                "of the run."
            )
        ),
    ] = None,
    forced_images: Annotated[
        int,
        typer.Option(
            help=(
                "Number of images that also run with each layer's inputs from "
                "the reference; 0 for none."
            )
        ),
    ] = 32,
    dump: Annotated[
        Path | None,
        typer.Option(
            help=("Folder for the traces of every target. Default: none are written.")
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Print firing rates, bits of registers, state-forced runs and files.",
        ),
    ] = False,
    replace: ReplaceFlag = False,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Compare every spike and membrane on every target.

    Exit code 3 if one differs; the output names its layer, step and neuron. For a .nir
    file, targets that cannot express it are skipped with the reason, unless --target
    names them.
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
            bundle=bundle,
            substitutes=files,
            dump=dump,
            dt=dt,
            steps=steps,
            replace=replace,
            progress=lambda name, done, of: progress(name, done, of, {}),
        )
    text = parity_text(report, verbose=verbose)
    output.emit("stars.parity/2", report.to_json(), text)
    if not report.ok:
        raise typer.Exit(3)
    output.next(f"stars energy {shown(run)}")


def parse_substitutes(given: list[str]) -> dict[str, Path]:
    """The files by target, from NAME=FILE texts.

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
