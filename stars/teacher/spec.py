"""TeacherSpec: the description of a teacher, which its weights do not contain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stars.config.models import TeacherConfig
from stars.errors import ConfigError, FormatError
from stars.files.json_toml import parse_json


@dataclass(frozen=True)
class TeacherSpec:
    """The description of a teacher: everything needed besides its weights.

    Args:
        architecture: a row of ARCHITECTURES; "" for the user's own module.
        options: the architecture's options.
        input_shape: (C, H, W).
        classes: K.
        mean, deviation: of pixel / 255, per channel, as in its training.
        notes: how it was trained; values by name. `stars teacher train` records its
            settings, the data set, the names of the classes and the test accuracy.
    """

    architecture: str
    options: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.input_shape) < 1:
            raise ConfigError(f"teacher: input_shape {self.input_shape} is empty")
        channels = self.input_shape[0]
        if not len(self.mean) == len(self.deviation) == channels:
            raise ConfigError(
                f"teacher: mean {list(self.mean)} and deviation {list(self.deviation)}"
                f" need one value for each of {channels} channels"
            )
        if not min(self.deviation) > 0:
            raise ConfigError(f"teacher: deviation {self.deviation} must be positive")

    @property
    def accuracy(self) -> float | None:
        """The test accuracy in the notes, 0 to 1; None without one."""
        value = self.notes.get("test_accuracy")
        return float(value) if isinstance(value, int | float) else None

    @classmethod
    def from_json(cls, text: str) -> TeacherSpec:
        """The spec that `to_json` wrote.

        Raises:
            FormatError: the text is no spec.
        """
        try:
            raw = parse_json(text)
            return cls(
                architecture=str(raw["architecture"]),
                options=dict(raw["options"]),
                input_shape=tuple(int(n) for n in raw["input_shape"]),  # type: ignore[arg-type]
                classes=int(raw["classes"]),
                mean=tuple(float(m) for m in raw["mean"]),
                deviation=tuple(float(d) for d in raw["deviation"]),
                notes=dict(raw["notes"]),
            )
        except (
            ValueError,
            KeyError,
            TypeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise FormatError(
                f"the teacher's description is damaged: {error}"
            ) from error

    def to_json(self) -> str:
        """The spec as one line of JSON."""
        return json.dumps(asdict(self))


def spec_of(config: TeacherConfig) -> TeacherSpec | None:
    """The spec in a [teacher] section; None if the section has none.

    Raises:
        ConfigError: only some of input_shape, classes, mean and deviation are given.
    """
    needed = (config.input_shape, config.classes, config.mean, config.deviation)
    if not any(needed):
        return None
    if config.input_shape is None or config.classes is None:
        raise ConfigError(
            "[teacher] needs all of input_shape, classes, mean and deviation, or none"
        )
    return TeacherSpec(
        architecture=config.architecture,
        options=config.options,
        input_shape=config.input_shape,
        classes=config.classes,
        mean=config.mean,
        deviation=config.deviation,
    )
