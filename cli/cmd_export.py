"""`stars export`: write a student as NIR, as ONNX, or as a bundle for Lava."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    FORMATS,
    FORMS,
    DtOption,
    ForceFlag,
    RunArgument,
    StepsOption,
    choice,
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
    out: Annotated[
        Path | None,
        typer.Option(
            help="File or folder to write. Default: in artifacts/ of the run."
        ),
    ] = None,
    force: ForceFlag = False,
    dt: DtOption = None,
    steps: StepsOption = None,
    json: JsonFlag = False,
) -> None:
    """Write a student as NIR, ONNX or a Lava bundle."""
    from export.formats import backend, check_out, write_checked
    from targets.subject import Subject

    output = Output.of(context, json=json)
    row = backend(target)
    subject = Subject.open(run, dt=dt, steps=steps)
    if out is None and subject.run is None:
        raise ConfigError(f"'{run}' is a file; pass --out PATH")
    path = subject.file.parent / row.output if out is None else out
    if out is not None:
        check_out(target, out, force=force)
    given = {"form": form, "record": record or None}
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
