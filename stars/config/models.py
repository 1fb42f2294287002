"""Configurations as pydantic models, read from and written to TOML."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stars.config.presets import (
    merged,
    preset_values,
    with_student,
    with_teacher,
)
from stars.config.recipes import DEFAULT_METHOD, RECIPES, with_recipe
from stars.config.sources import BUNDLED
from stars.errors import ConfigError, guess
from stars.files.json_toml import parse_toml

Model = TypeVar("Model", bound="Config")


class Config(BaseModel):
    """Base class: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


UNSIZED = ("resnet", "vgg")  # architectures whose name does not fix their size


class NetworkConfig(Config):
    """A built-in architecture; default options apply only to unsized ones."""

    architecture: str = "resnet"
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        named = isinstance(values, dict) and values.get("architecture", "resnet")
        return {"options": {}, **values} if named and named not in UNSIZED else values


class TeacherTrainingConfig(NetworkConfig):
    """Settings of `stars teacher train`; the defaults trained the bundled teacher."""

    options: dict[str, Any] = Field(
        default_factory=lambda: {"widths": [32, 64, 128], "depths": [1, 1, 1]}
    )
    epochs: int = Field(24, ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(0.1, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    flip: bool = True
    crop: int = Field(2, ge=0, le=16)
    bf16: bool = True  # if the device is faster with it
    device: str = "cpu"
    seed: int = Field(0, ge=0)


class TermConfig(BaseModel):
    """One `[[prior]]` or `[[loss]]`: its name, weight and options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    weight: float = Field(1.0, ge=0)


def term_values(text: str) -> dict[str, Any]:
    """The values of `NAME` or `NAME:key=value,key=value`, as in a `[[loss]]`.

    NAME can be `module:function`. Values are read as TOML; a bare word is a string.

    Raises:
        ConfigError: the text has another form, or an option is given twice.
    """
    match = re.fullmatch(r"([^=]+?)(?::(\w+=.*))?", text)
    if match is None:
        raise ConfigError(f"{text!r}: expected NAME or NAME:key=value,key=value")
    values: dict[str, Any] = {"name": match[1]}
    for pair in re.split(r",(?=\w+=)", match[2] or ""):
        key, _, value = pair.partition("=")
        if key in values:
            raise ConfigError(f"{text!r}: {key!r} is given twice")
        if key:
            values[key] = toml_value(value)
    return values


def toml_value(text: str) -> Any:
    """The text as a TOML value, as a number such as .5, or else unchanged."""
    for read in (lambda t: parse_toml(f"value = {t}")["value"], float):
        with suppress(ValueError):
            return read(text)
    return text


class TeacherConfig(Config):
    """The teacher's source; the other keys are for files without a description."""

    source: str = BUNDLED
    architecture: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    input_shape: tuple[int, int, int] | None = None
    classes: int | None = Field(None, ge=2)
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


class StudentConfig(NetworkConfig):
    """The spiking student.

    In a `DistillConfig` that names neither an architecture nor its options, the student
    has the teacher's architecture and starts from its weights. A teacher that is a
    module of the user's own has neither to give: its student has the defaults below.

    Args:
        architecture: a row of ARCHITECTURES, or "teacher" for the teacher's own; then
            `options` override the teacher's.
        start: "fresh" for random weights, "teacher" for the teacher's weights,
            rescaled; this needs the teacher's architecture.
        quantile: of the teacher's activations, for which a firing rate of 1 stands;
            only used if the student starts from the teacher.
    """

    options: dict[str, Any] = Field(
        default_factory=lambda: {
            "widths": [32, 64, 128],
            "depths": [1, 1, 1],
            "stem_stride": 2,
        }
    )
    start: Literal["fresh", "teacher"] = "fresh"
    quantile: float = Field(0.97, gt=0, le=1)
    steps: int = Field(4, ge=1, le=64)
    surrogate: str = "triangle"
    input_exponent: int = Field(-5, ge=-16, le=16)


class SynthesisConfig(Config):
    """How images are synthesized; `recipes.py` holds the defaults of each method.

    Args:
        batch_size: of all processes together.
        harvest: number of batches that a generator's round adds to the bank.
        harvest_from: "last" makes them with the generator at the end of the round;
            "steps" draws as many images from the steps after the first third of the
            round, at no cost.
    """

    method: str = DEFAULT_METHOD
    options: dict[str, Any] = Field(default_factory=dict)  # the method's own
    rounds: int = Field(16, ge=1)
    steps: int = Field(40, ge=1)
    batch_size: int = Field(128, ge=2)
    harvest: int = Field(4, ge=1)
    harvest_from: Literal["last", "steps"] = "last"
    learning_rate: float = Field(4e-3, gt=0)
    latent: int = Field(128, ge=1)
    width: int = Field(32, ge=1)
    bank: int = Field(20000, ge=1)
    bf16: bool = True


class TrainingConfig(Config):
    """How the student trains; `batch_size` is that of all processes together."""

    steps: int = Field(2400, ge=1)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(1.6e-2, gt=0)
    head_rate: float = Field(8.0, gt=0)  # the head's learning rate over that one
    weight_decay: float = Field(1e-4, ge=0)
    flip: bool = True
    crop: int = Field(2, ge=0, le=16)
    mixup: float = Field(0.5, ge=0, le=1)
    bf16: bool = True
    checkpointing: bool = False  # keep spikes alone for the backward pass: less memory


class GridConfig(Config):
    """Fine-tuning on the power-of-two grid."""

    steps: int = Field(300, ge=0)
    learning_rate: float = Field(5e-4, gt=0)


def own_priors() -> tuple[TermConfig, ...]:
    """The priors of the default method's recipe."""
    rows = RECIPES[DEFAULT_METHOD].prior.items()
    return tuple(TermConfig.model_validate({"name": n, **row}) for n, row in rows)


class DistillConfig(Config):
    """Settings of `stars distill`; the method's recipe gives defaults."""

    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    prior: tuple[TermConfig, ...] = Field(default_factory=own_priors)
    loss: tuple[TermConfig, ...] = (TermConfig(name="kl"),)
    training: TrainingConfig = TrainingConfig()
    grid: GridConfig = GridConfig()
    data: str = ""  # real training images instead of synthetic ones; "" for none
    test_data: str = BUNDLED
    # If a layer is silent or the images collapse: "warn" warns, "stop" stops after the
    # round, "end" warns and refuses a finished student that is silent.
    trouble: Literal["warn", "end", "stop"] = "end"
    device: str = "cpu"
    backend: Literal["norse-eager", "fused"] = "fused"
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return with_recipe(with_student(with_teacher(values)))


def validated(kind: type[Model], values: dict[str, Any], where: str) -> Model:
    """`values` as a model of `kind`.

    Raises:
        ConfigError: a key is unknown or a value out of range; all are listed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        reasons = [
            f"{'.'.join(map(str, e['loc'])) or '(top)'}: {describe(kind, e)}"
            for e in error.errors()
        ]
        raise ConfigError(f"{where}: " + "; ".join(reasons)) from error


def describe(kind: type[Config], error: Any) -> str:
    """The message of a pydantic error; for an unknown key with the known ones."""
    if error["type"] != "extra_forbidden":
        return f"{error['msg'][0].lower()}{error['msg'][1:]}, found {error['input']!r}"
    model: Any = kind
    for part in error["loc"][:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field is not None else None
    known = sorted(getattr(model, "model_fields", {}))
    return f"unknown key{guess(str(error['loc'][-1]), known)}; known are {known}"


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config '{path}': {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"config '{path}': not TOML: {error}") from error


def to_toml(config: Config) -> str:
    """The configuration as TOML, which reads back as an equal one."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def distill_config(
    preset: str, path: Path | None, flags: dict[str, Any]
) -> DistillConfig:
    """The configuration of a run: flags override the file, which overrides the preset.

    Args:
        preset: a row of PRESETS.
        path: a TOML file, or None.
        flags: top-level keys from the command line; "add_prior" is appended to the
            priors of the method or the file.

    Raises:
        ConfigError: an unknown preset, key or value, with its place.
    """
    added = flags.get("add_prior", [])
    flags = {key: value for key, value in flags.items() if key != "add_prior"}
    given = merged({} if path is None else read_toml(path), flags)
    where = "configuration" if path is None else f"config '{path}'"
    values = merged(preset_values(preset, given), given)
    config = validated(DistillConfig, values, where)
    priors = [*config.model_dump()["prior"], *added]
    return validated(DistillConfig, {**config.model_dump(), "prior": priors}, where)
