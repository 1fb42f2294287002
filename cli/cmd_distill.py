"""`stars distill`: make a spiking student from a teacher alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.grid import Grid
from cli.interrupt import ending_rounds
from cli.options import (
    ARCHITECTURES,
    BACKENDS,
    DEVICES,
    LOSSES,
    METHODS,
    PRIORS,
    PresetOption,
    choice,
)
from cli.output import JsonFlag, Output, shown, stage_progress


def distill(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Run directory to create.")],
    teacher: Annotated[
        str | None,
        typer.Option(
            help=(
                "Teacher: fashion-mnist (bundled), a .safetensors or .pt file, "
                "or module:function, which runs that code."
            )
        ),
    ] = None,
    preset: PresetOption = "default",
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; overrides the preset.")
    ] = None,
    method: Annotated[
        str | None,
        choice("Synthesis method, or module:class.", METHODS),
    ] = None,
    add_prior: Annotated[
        list[str] | None,
        choice(
            "Prior to add to those of the method, as NAME:weight=2,key=value. Repeat"
            " for several.",
            PRIORS,
        ),
    ] = None,
    loss: Annotated[
        list[str] | None,
        choice(
            "Loss, as NAME:key=value,... Repeat for several. NAME may be"
            " module:function, which runs that code. Default: that of the preset.",
            LOSSES,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(envvar="STARS_SEED", help="Seed of every random number."),
    ] = None,
    student: Annotated[
        str | None,
        choice(
            "Architecture of the student. Default: that of the teacher with its"
            " weights; a small ResNet for a module.",
            ["teacher", *ARCHITECTURES],
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Time steps per image (T).")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=("Real training images to learn from, for comparison. Default: none.")
        ),
    ] = None,
    test_data: Annotated[
        str | None,
        typer.Option(
            help=(
                "Real images for the printed accuracies, or none. Default: "
                "fashion-mnist for a teacher of that data set, else none."
            )
        ),
    ] = None,
    device: Annotated[
        str | None, choice("Device.", DEVICES, envvar="STARS_DEVICE")
    ] = None,
    backend: Annotated[
        str | None,
        choice(
            "Implementation of the neurons; both have the same bits.",
            BACKENDS,
            envvar="STARS_BACKEND",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Distill a teacher into a spiking student, without data."""
    from stars.config.arguments import distill_settings

    output = Output.of(context, json=json)
    settings = distill_settings(
        preset=preset,
        config=config,
        teacher=teacher,
        student=student,
        steps=steps,
        losses=loss,
        priors=add_prior,
        method=method,
        data=data,
        test_data=test_data,
        seed=seed,
        device=device,
        backend=backend,
    )
    from stars.data.images import kind_of
    from stars.distillation.api import (
        run_settings,
    )  # torch, once the settings are right

    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    with (
        stage_progress(output) as bars,
        ending_rounds(output, bars, alone=alone) as progress,
    ):
        distilled = run_settings(settings, out, resume=resume, progress=progress)
    if int(os.environ.get("RANK", "0")):
        return
    kind = kind_of(settings.test_data)
    rows = [
        (name, "not measured" if value is None else f"{100 * value:.2f} %")
        for name, value in distilled.accuracies.items()
    ]
    text = Grid(("network", f"accuracy on real {kind} images"), rows)
    data_json = {"run": str(out), "evaluated_on": kind, **distilled.report}
    output.emit("stars.distill/1", data_json, text)
    for warning in distilled.report["warnings"]:
        output.note(f"warning: {warning}")
    output.note(
        f"{out}: distilled in {distilled.report['seconds']:.0f} s;"
        f" {distilled.certificate.verdict}"
    )
    output.next(f"stars parity {shown(out)}")
