"""`stars export`: write a student as NIR, as ONNX, or as a bundle for Lava."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import (
    FORMATS,
    FORMS,
    KERNELS,
    ForceFlag,
    RunArgument,
    StepsOption,
    choice,
    seconds,
)
from cli.output import JsonFlag, Output, shown
from stars.errors import ConfigError


def export(
    context: typer.Context,
    run: RunArgument,
    target: Annotated[str, choice("Format to write.", FORMATS)] = "nir",
    form: Annotated[
        str | None,
        choice("Form of ONNX. Default: scan, with any T and batch.", FORMS),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="ONNX only: add spikes and membranes as outputs."
        ),
    ] = False,
    opset: Annotated[
        int | None,
        typer.Option(
            help=(
                "ONNX only: version of the operators. Default: 19, the first that "
                "ONNX's own ReferenceEvaluator runs."
            )
        ),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            help=(
                "NIR only: 'nir' (the default), or 'tau/r' for readers that take "
                "dt = tau / r and add their input without a factor."
            )
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File or folder to write. Default: in artifacts/ of the run."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="C only: name of its files and functions. Default: network."),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(
            help=(
                "C only: JSON file with firing rates by layer, or a parity.json, to "
                "choose the kernels. Default: rates on eight golden inputs."
            )
        ),
    ] = None,
    kernels: Annotated[
        str | None,
        choice("C only. Default: auto, by firing rates.", KERNELS),
    ] = None,
    dt: Annotated[
        Any,
        typer.Option(
            parser=seconds,
            metavar="SECONDS",
            help=(
                "Seconds per time step, for a NIR file that does not say it, or "
                "'auto'. With --target nir, a network that says its own is rescaled "
                "to this dt, for readers that have a fixed one."
            ),
        ),
    ] = None,
    force: ForceFlag = False,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Write a student as NIR, ONNX, a Lava bundle or C."""
    from export.c.rates import read_rates
    from export.formats import backend, check_out, write_checked
    from targets.subject import Subject, states_dt

    output = Output.of(context, json=json)
    row = backend(target)
    # The dt of the file, or the one to write: a network that says its own is rescaled.
    rescale = target == "nir" and dt not in (None, "auto") and states_dt(run)
    subject = Subject.open(run, dt=None if rescale else dt, steps=steps)
    if out is None and subject.run is None:
        raise ConfigError(f"'{run}' is a file; pass --out PATH")
    if out is None and target == "nir" and (rescale or convention is not None):
        raise ConfigError(
            "--dt and --convention write the network of a run for another reader; pass"
            " --out PATH, because the run keeps its own file"
        )
    path = subject.file.parent / row.output if out is None else out
    if out is not None:
        check_out(target, out, force=force)
    given: dict[str, Any] = {
        "form": form,
        "record": record or None,
        "opset": opset,
        "convention": convention,
        "dt": dt if rescale else None,
        "name": name,
        "kernels": kernels,
        "rates": None if rates is None else read_rates(rates),
    }
    options = {name: value for name, value in given.items() if value is not None}
    write_checked(target, subject.graph, path, **options)
    if subject.run is not None and out is None:
        # A bundle's own manifest has the checksums of all its other files.
        artifact = path if path.is_file() else path / "manifest.json"
        subject.run.record_artifact(artifact)
    data = {
        "target": target,
        "path": str(path),
        "nodes": len(subject.graph.nodes),
        "read_back": row.reader is not None,
    }
    notes = [f"{path}: {row.description}"]
    if target == "onnx":
        from export.to_onnx import weight_types

        notes.append(weight_types(subject.graph))
    if row.reader:
        notes.append("read back and equal")
    output.emit("stars.export/1", data, ", ".join(notes))
    output.next(f"stars parity {shown(run)}")
