"""`stars distill`: make a spiking student from a teacher alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.output import JsonFlag, Output, stage_progress

if TYPE_CHECKING:
    from stars.distributed import Group


def distill(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The run directory to make.")],
    teacher: Annotated[
        str | None,
        typer.Option(help="fashion-mnist, a .safetensors or .pt, or module:function."),
    ] = None,
    preset: Annotated[str, typer.Option(help="quick or default.")] = "default",
    config: Annotated[
        Path | None, typer.Option(help="A TOML file; its values go over the preset.")
    ] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME:key=value,...; may be repeated. NAME may be module:function."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(envvar="STARS_SEED", help="Of all randomness.")
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
    """Distil a teacher into a spiking student on the grid; without data, or with it."""
    from stars.config import term_values
    from stars.distributed import Group

    output = Output.of(context, json=json)
    flags: dict[str, Any] = {
        "teacher": None if teacher is None else {"source": teacher},
        "student": None if steps is None else {"steps": steps},
        "loss": [term_values(text) for text in loss] if loss else None,
        "data": data,
        "test_data": test_data,
        "device": device,
        "backend": backend,
        "seed": seed,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    with Group() as group:
        _distil(output, group, preset, config, given, out, resume)


def _distil(
    output: Output,
    group: Group,
    preset: str,
    config: Path | None,
    given: dict[str, Any],
    out: Path,
    resume: bool,
) -> None:
    from export import to_nir
    from stars import data as datasets, teacher as teachers
    from stars.config import distill_config
    from stars.distill import distill as run_distillation, follow
    from stars.run import Run
    from stars.teacher import spec_of

    settings = distill_config(preset, config, given)
    source = teachers.load(settings.teacher.source, spec_of(settings.teacher))
    test = None if settings.test_data == "none" else datasets.load(settings.test_data)
    real = datasets.load(settings.data, "train") if settings.data else None
    if not group.first:
        follow(settings, source, real)
        return
    run = Run.create(out, settings, resume=resume)
    with stage_progress(output) as progress:
        result = run_distillation(settings, source, test, run, progress, real)
    to_nir.write(result.graph, run.graph_path)
    run.record_artifact(run.graph_path)
    text = Table("network", "accuracy on real test images")
    for name, value in result.accuracies().items():
        text.add_row(name, "not measured" if value is None else f"{100 * value:.2f} %")
    output.emit("stars.distill/1", {"run": str(out), **result.to_json()}, text)
    for warning in result.warnings():
        output.note(f"warning: {warning}")
    output.note(
        f"{out}: distilled in {result.seconds:.0f} s; {result.certificate.verdict}"
    )
