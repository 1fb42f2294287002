"""`stars distill`: make a spiking student from a teacher alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.interrupt import ending_rounds
from cli.options import PresetOption
from cli.output import JsonFlag, Output, stage_progress


def distill(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The run directory to make.")],
    teacher: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist, a .safetensors or .pt, or module:function (runs it)."
        ),
    ] = None,
    preset: PresetOption = "default",
    config: Annotated[
        Path | None, typer.Option(help="A TOML file; its values go over the preset.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="forgetful, deepinversion, dafl, dfq, cmi or fast."),
    ] = None,
    add_prior: Annotated[
        list[str] | None,
        typer.Option(help="NAME:weight=2,key=value beside the method's own."),
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME:key=value,...; repeatable. NAME may be module:function (run)."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(envvar="STARS_SEED", help="Of all randomness.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Architecture: teacher, resnet18, wrn16-2, ... Default: the teacher's,"
            " with its weights; resnet of stem_stride 2 for a module."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="T, steps per image.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Real training images to learn from, for comparison."),
    ] = None,
    test_data: Annotated[
        str | None,
        typer.Option(help="Real images for the printed accuracies; 'none' for none."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(envvar="STARS_DEVICE", help="cpu, cuda.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            envvar="STARS_BACKEND", help="norse-eager or fused, for the neurons."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Distill a teacher into a spiking student on the grid, without real data."""
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
    text = Table("network", f"accuracy on real {kind} images")
    for name, value in distilled.accuracies.items():
        text.add_row(name, "not measured" if value is None else f"{100 * value:.2f} %")
    data_json = {"run": str(out), "evaluated_on": kind, **distilled.report}
    output.emit("stars.distill/1", data_json, text)
    for warning in distilled.report["warnings"]:
        output.note(f"warning: {warning}")
    output.note(
        f"{out}: distilled in {distilled.report['seconds']:.0f} s;"
        f" {distilled.certificate.verdict}"
    )
