"""`stars teacher train`: train an ANN that can be distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import ARCHITECTURES, DEVICES, choice
from cli.output import JsonFlag, Output, stage_progress


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help=(
                "Training images: NAME:ROOT (torchvision), a .npz file, or an "
                "image folder."
            )
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run directory to create.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    architecture: Annotated[
        str | None, choice("Architecture. Default: resnet.", ARCHITECTURES)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(envvar="STARS_SEED", help="Seed of every random number."),
    ] = None,
    device: Annotated[
        str | None, choice("Device.", DEVICES, envvar="STARS_DEVICE")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Train a teacher and print its accuracy on the test split."""
    from stars.config.models import TeacherTrainingConfig, read_toml, validated
    from stars.config.presets import merged
    from stars.config.sources import flips
    from stars.data.images import load
    from stars.run_directory import Run
    from stars.runtime.allocator import keep_freed_memory
    from stars.teacher.training import train as run_training

    keep_freed_memory()
    output = Output.of(context, json=json)
    flags: dict[str, Any] = {
        "architecture": architecture,
        "epochs": epochs,
        "seed": seed,
        "device": device,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    values = merged({} if config is None else read_toml(config), given)
    values = {"flip": flips(data), **values}
    settings = validated(TeacherTrainingConfig, values, "teacher configuration")
    training, test = load(data, "train"), load(data, "test")
    run = Run.create(out, settings, resume=resume)
    with stage_progress(output) as progress:
        result = run_training(settings, training, test, run, progress)
    output.emit(
        "stars.teacher/1",
        {
            "teacher": str(result.path),
            "test_accuracy": result.test_accuracy,
            "epochs": result.epochs,
            "seconds": result.seconds,
        },
        f"{result.path}: {100 * result.test_accuracy:.2f} % on {len(test)} test images"
        f" after {result.epochs} epochs, {result.seconds:.0f} s",
    )
