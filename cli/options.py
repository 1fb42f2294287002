"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def seconds(text: str) -> float | str:
    """The value of `--dt`: a number, or "auto".

    Raises:
        ValueError: the text is neither.
    """
    return text if text == "auto" else float(text)


RunArgument = Annotated[Path, typer.Argument(help="A run directory or a .nir file.")]
DtOption = Annotated[
    Any,
    typer.Option(
        parser=seconds,
        metavar="SECONDS",
        help=(
            "Seconds per time step, for a NIR file that does not say it; 'auto' takes "
            "what the parameters of snnTorch, SpikingJelly, Norse or sinabs show."
        ),
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        help=("Time steps per input (T), for a NIR file that does not say it.")
    ),
]
InputsOption = Annotated[
    Path | None,
    typer.Option(
        help=(
            "Inputs as .npy or .npz: 8-bit images [N, C, H, W] or a float "
            "input [T, N, ...]. Default: the test images of the run."
        )
    ),
]
ReplaceFlag = Annotated[
    bool,
    typer.Option(
        "--replace",
        help=(
            "Overwrite the result of the run even if it is wider. Default: a wider one "
            "stays, and this one becomes parity-last.json or energy-last.json."
        ),
    ),
]
PresetOption = Annotated[
    str, typer.Option(help="Preset of settings: quick, default or thorough.")
]
