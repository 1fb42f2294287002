"""`stars distill`: make a spiking student from a teacher alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.inputs import read_inputs
from cli.interrupt import ending_rounds
from cli.options import PresetOption
from cli.output import JsonFlag, Output, stage_progress

if TYPE_CHECKING:
    from stars.config.models import DistillConfig
    from stars.runtime.distributed import Group


def present(flags: dict[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {key: value for key, value in flags.items() if value is not None}


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
        str | None, typer.Option(help="Its architecture, as resnet18 or wrn16-2.")
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
    from stars.config.models import distill_config, term_values

    output = Output.of(context, json=json)
    flags: dict[str, Any] = {
        "teacher": None if teacher is None else {"source": teacher},
        "student": present({"steps": steps, "architecture": student}) or None,
        "synthesis": None if method is None else {"method": method},
        "add_prior": [term_values(text) for text in add_prior or []],
        "loss": [term_values(text) for text in loss] if loss else None,
        "data": data,
        "test_data": test_data,
        "device": device,
        "backend": backend,
        "seed": seed,
    }
    settings = distill_config(preset, config, present(flags))
    from stars.runtime.distributed import Group  # torch, once the settings are right

    with Group() as group:
        _distill(output, group, settings, out, resume)


def _distill(
    output: Output,
    group: Group,
    settings: DistillConfig,
    out: Path,
    resume: bool,
) -> None:
    from export import to_nir
    from stars.data.images import kind_of
    from stars.distillation.loop import distill as run_distillation, follow
    from stars.run_directory import Run
    from stars.runtime.allocator import keep_freed_memory
    from stars.runtime.distributed import processes

    keep_freed_memory()
    teacher, test, real = read_inputs(settings)
    if not group.first:
        follow(settings, teacher, real)
        return
    run = Run.create(out, settings, resume=resume)
    with run.locked():
        with (
            stage_progress(output) as bars,
            ending_rounds(output, bars, alone=processes() == 1) as progress,
        ):
            result = run_distillation(settings, teacher, test, run, progress, real)
        to_nir.write(result.graph, run.graph_path)
        run.record_artifact(run.graph_path)
    kind = kind_of(settings.test_data)
    text = Table("network", f"accuracy on real {kind} images")
    for name, value in result.accuracies().items():
        text.add_row(name, "not measured" if value is None else f"{100 * value:.2f} %")
    data_json = {"run": str(out), "evaluated_on": kind, **result.to_json()}
    output.emit("stars.distill/1", data_json, text)
    for warning in result.warnings():
        output.note(f"warning: {warning}")
    output.note(
        f"{out}: distilled in {result.seconds:.0f} s; {result.certificate.verdict}"
    )
