"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# The names that options take. Tests compare them with the tables, whose modules would
# make `--help` slow.
TARGETS = ["student", "reference", "norse", "onnx", "c", "c-wasm", "c-arm", "c-arm-m55"]
TARGETS += ["loihi", "lava-float", "lava-fixed"]
FORMATS, FORMS = ["nir", "lava", "onnx", "c"], ["scan", "step", "unroll"]
KERNELS = ["auto", "event", "dense"]
CHIPS = ["loihi1", "loihi2", "cortex-m4", "cortex-m7", "cortex-m55", "rp2040"]
CAPABILITIES = ["core", "onnx", "lava"]
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
    "decoupled",
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


def seconds(text: str) -> float | str:
    """The value of `--dt`: a number, or "auto".

    Raises:
        ValueError: the text is neither.
    """
    return text if text == "auto" else float(text)


def choice(text: str, values: Sequence[str], *names: str, **settings: Any) -> Any:
    """An option that lists its values in its help, and completes them in the shell."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    text = f"{text} One of: {', '.join(values)}."
    return typer.Option(*names, help=text, autocompletion=complete, **settings)


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
ForceFlag = Annotated[
    bool, typer.Option("--force", help="Overwrite --out if it exists.")
]
PresetOption = Annotated[str, choice("Preset of settings.", PRESETS)]
