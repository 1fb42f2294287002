"""Presets, and the settings of a student that starts from its teacher."""

from __future__ import annotations

from typing import Any

from stars.config.recipes import DEFAULT_METHOD, TAR
from stars.config.sources import BUNDLED, is_file, recorded
from stars.errors import ConfigError, guess

# Settings of a student that starts from its teacher. All others have random weights at
# first; the defaults in `models.py` are theirs.
STARTED: dict[str, Any] = {
    "loss": [{"name": "kl"}, {"name": "layerwise", "weight": 0.3}],
    "training": {"steps": 240, "learning_rate": 2e-3, "head_rate": 1.0},
    "grid": {"steps": 80, "learning_rate": 1e-4},
}
# The same for the default method. None of the priors reads the student, because its
# passes at the teacher's resolution would cost twice what the rest of a step costs.
STARTED_DEFAULT_METHOD: dict[str, Any] = {
    "synthesis": {"rounds": 8, "steps": 30, "harvest": 8, "harvest_from": "steps"},
    "prior": [
        {"name": "batch_norm", "weight": 10.0},
        {"name": "one_hot", "weight": 2.0},
        {"name": "tail", **TAR},
    ],
}

# Values over the defaults, and values over STARTED.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "quick": {
        "synthesis": {"rounds": 4, "steps": 20},
        "training": {"steps": 200},
        "grid": {"steps": 50},
    },
    "thorough": {
        "synthesis": {"rounds": 64, "bank": 40000},
        "training": {"steps": 9600},
        "grid": {"steps": 600},
    },
}
STARTED_PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "quick": {
        "synthesis": {"rounds": 2, "steps": 20},
        "training": {"steps": 20},
        "grid": {"steps": 10, "learning_rate": 5e-4},
    },
    "thorough": {
        "synthesis": {"rounds": 32, "bank": 40000},
        "training": {"steps": 2400},
        "grid": {"steps": 300},
    },
}


def preset_values(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a preset for the student that a configuration describes.

    Args:
        name: a row of PRESETS.
        values: the configuration, as in a file.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"preset {name!r} is unknown{guess(name, PRESETS)}; there are"
            f" {sorted(PRESETS)}"
        )
    return (STARTED_PRESETS if starts_from_teacher(values) else PRESETS)[name]


def with_teacher(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults that a teacher of the user's own has under it.

    They are those that its file records, and no test images unless they are its own.

    Args:
        values: as in a file.
    """
    teacher = values.get("teacher", {})
    source = teacher.get("source", BUNDLED) if isinstance(teacher, dict) else BUNDLED
    if source == BUNDLED:
        return values
    return merged({"test_data": "none", **recorded(source)}, values)


def with_student(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration with STARTED under it if its student starts from the teacher.

    Args:
        values: as in a file.
    """
    if not starts_from_teacher(values):
        return values
    student = values.get("student", {})
    own = {"start": "teacher"}
    if "options" not in student:
        own["architecture"] = "teacher"
    base = merged(STARTED, {"student": own})
    synthesis = values.get("synthesis", {})
    method = synthesis.get("method") if isinstance(synthesis, dict) else None
    if method in (None, DEFAULT_METHOD):
        base = merged(base, STARTED_DEFAULT_METHOD)
    return merged(base, values)


def starts_from_teacher(values: dict[str, Any]) -> bool:
    """Whether the student starts from the teacher.

    It does if the configuration says so. It also does if the configuration names no
    student and the teacher is a file, because files are of our architectures.

    Args:
        values: as in a file; values of wrong types are left to their validation.
    """
    student, teacher = values.get("student", {}), values.get("teacher", {})
    if not isinstance(student, dict) or not isinstance(teacher, dict):
        return False
    for key in ("start", "architecture"):
        if key in student:
            return bool(student[key] == "teacher")
    source = teacher.get("source", BUNDLED)
    ours = isinstance(source, str) and (source == BUNDLED or is_file(source))
    return ours and "options" not in student


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; tables are merged, lists replaced."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result
