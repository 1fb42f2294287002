"""`stars quantize`: put a float network on the grid, and say what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DtOption, ForceFlag, InputsOption, RunArgument, StepsOption
from cli.output import JsonFlag, Output, shown, stage_progress
from stars.files.writing import check_writable

if TYPE_CHECKING:
    from stars.grid.certificate import Certificate


def quantize(
    context: typer.Context,
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="The .nir file to write.")],
    bits: Annotated[
        int, typer.Option(help="Bits of a weight with its sign, 2 to 8.")
    ] = 8,
    round_decay: Annotated[
        bool,
        typer.Option(
            "--round-decay",
            help=(
                "Change each dt / tau to the nearest 2^-j. Without this option, "
                "other values are refused."
            ),
        ),
    ] = False,
    truncating_decay: Annotated[
        bool,
        typer.Option(
            "--truncating-decay",
            help=(
                "Let each decay truncate as Loihi does, so that the network is exact "
                "at any T. Without this option a decay keeps every bit, which is exact "
                "up to some T."
            ),
        ),
    ] = False,
    inputs: InputsOption = None,
    data: Annotated[
        str | None, typer.Option(help="Labeled images for the accuracies.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Number of inputs. Default: 200, or 64 random ones."),
    ] = None,
    force: ForceFlag = False,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Put a network on the grid and measure the cost.

    Both networks run on the given inputs, the run's test images, or random ones.
    """
    from cli.quantize_view import quantize_text
    from export.formats import check_out, write_checked
    from stars.grid.quantization import quantization
    from targets.grid_cost import choose_sample, measure
    from targets.subject import Subject

    output = Output.of(context, json=json)
    subject = Subject.open(run, dt=dt, steps=steps)
    check_out("nir", out, force=force)
    check_writable(out.parent)
    sample = choose_sample(subject, inputs, data, images)
    done = quantization(
        subject.graph,
        bits=bits,
        round_decay=round_decay,
        truncating_decay=truncating_decay,
    )
    with stage_progress(output) as progress:
        report = measure(
            subject.graph,
            done,
            sample,
            lambda taken, of: progress("inputs", taken, of, {}),
        )
    write_checked("nir", done.graph, out)
    result = {"path": str(out), "bits": bits, **report.to_json()}
    output.emit("stars.quantize/1", result, quantize_text(report))
    certificate = report.certificate
    output.note(f"{out}: written; {certificate.verdict}{remedy(certificate)}")
    output.next(f"stars check {shown(out)}")


def remedy(certificate: Certificate) -> str:
    """The option that keeps a decay exact beyond T, where its bits set the bound."""
    decaying = ("truncation", "float32 bits", "float32 range")
    if any(b.kind in decaying and b.step > 1 for b in certificate.breaks):
        return "; pass --truncating-decay to go beyond"
    return ""
