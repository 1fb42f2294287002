"""`stars verify`: whether a proof is that of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonFlag, Output


def verify(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="The file: .nir, .onnx or student.safetensors.")
    ],
    proof: Annotated[Path, typer.Argument(help="The parity.json that came with it.")],
    json: JsonFlag = False,
) -> None:
    """Check that a proof is that of a file, by its SHA-256.

    Exit code 3 if the proof is of another file, or says that targets differ.
    """
    from targets.verification import verify as check

    output = Output.of(context, json=json)
    found = check(file, proof)
    output.emit("stars.verify/1", found.to_json(), found.verdict)
    if not found.ok:
        raise typer.Exit(3)
