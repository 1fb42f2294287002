"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# The names that options take. Tests compare them with the tables, whose modules would
# make `--help` slow.
TARGETS = ["student", "reference", "norse", "onnx", "loihi", "lava-float", "lava-fixed"]
FORMATS, FORMS = ["nir", "lava", "onnx"], ["scan", "step", "unroll"]
CHIPS, CAPABILITIES = ["loihi1", "loihi2"], ["core", "onnx", "lava"]
COST_TABLES = [
    "loihi1",
    "loihi2",
    "spinnaker2",
    "yan22",
    "horowitz45",
    "horowitz45-int8",
    "lemaire45",
]
PRESETS = ["quick", "default", "thorough"]
METHODS = ["forgetful", "deepinversion", "dafl", "dfq", "cmi", "fast"]
LOSSES = [
    "kl",
    "ce",
    "tser",
    "hta_kl",
    "nld",
    "samd",
    "feature_map",
    "rkd",
    "layerwise",
]
PRIORS = [
    "batch_norm",
    "one_hot",
    "adversarial",
    "balance",
    "activation",
    "total_variation",
    "l2",
    "relational",
    "tail",
    "membrane_tail",
]
ARCHITECTURES = [
    "resnet",
    "vgg",
    "resnet8",
    "resnet20",
    "resnet18",
    "resnet34",
    "vgg11",
    "wrn16-2",
    "wrn40-2",
]
DEVICES, BACKENDS = ["cpu", "cuda"], ["fused", "norse-eager"]


def choice(text: str, values: Sequence[str], *names: str, **settings: Any) -> Any:
    """An option that lists its values in its help, and completes them in the shell."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    text = f"{text} One of: {', '.join(values)}."
    return typer.Option(*names, help=text, autocompletion=complete, **settings)


RunArgument = Annotated[Path, typer.Argument(help="A run directory or a .nir file.")]
DtOption = Annotated[
    float | None,
    typer.Option(help="Seconds per time step, for a NIR file that does not say it."),
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
ForceFlag = Annotated[
    bool, typer.Option("--force", help="Overwrite --out if it exists.")
]
PresetOption = Annotated[str, choice("Preset of settings.", PRESETS)]
