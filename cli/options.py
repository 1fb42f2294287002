"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(help="A run directory, or a .nir file.")]
DtOption = Annotated[
    float | None, typer.Option(help="Seconds a step, if the file does not say.")
]
StepsOption = Annotated[int | None, typer.Option(help="T, if the file does not say.")]
InputsOption = Annotated[
    Path | None, typer.Option(help=".npy or .npz, instead of the run's test images.")
]
PresetOption = Annotated[str, typer.Option(help="quick, default or thorough.")]
