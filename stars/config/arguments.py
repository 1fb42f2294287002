"""Turns the arguments of `stars.distill` and `stars distill` into a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from stars.config.models import DistillConfig, distill_config, term_values
from stars.config.user_code import place_of
from stars.errors import ConfigError

Term = str | Mapping[str, Any] | Callable[..., Any]


def distill_settings(  # noqa: PLR0913 - one for each flag
    *,
    preset: str = "default",
    config: Path | None = None,
    teacher: str | None = None,
    student: str | None = None,
    steps: int | None = None,
    losses: Iterable[Term] | None = None,
    priors: Iterable[Term] | None = None,
    method: str | Callable[..., Any] | None = None,
    data: str | None = None,
    test_data: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    backend: str | None = None,
) -> DistillConfig:
    """The configuration; an argument None keeps the value of the file or the preset.

    Args: see `stars.distill`.

    Raises:
        ConfigError: an unknown preset, name, key or value, with its location.
    """
    flags: dict[str, Any] = {
        "teacher": None if teacher is None else {"source": teacher},
        "student": present({"steps": steps, "architecture": student}) or None,
        "synthesis": None if method is None else {"method": name_of(method)},
        "add_prior": [term(value) for value in priors or []],
        "loss": [term(value) for value in losses] if losses else None,
        "data": data,
        "test_data": test_data,
        "device": device,
        "backend": backend,
        "seed": seed,
    }
    return distill_config(preset, config, present(flags))


def present(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that are not None."""
    return {key: value for key, value in flags.items() if value is not None}


def name_of(value: str | Callable[..., Any]) -> str:
    """The name itself, or `module:name` of the user's function or class."""
    return value if isinstance(value, str) else place_of(value)


def term(value: Term) -> dict[str, Any]:
    """One loss or prior as a configuration holds it.

    Raises:
        ConfigError: it is no name, mapping or function.
    """
    if isinstance(value, str):
        return term_values(value)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(value):
        return {"name": place_of(value)}
    raise ConfigError(
        f"a loss or prior is {value!r}; expected a name, a mapping with 'name', or a"
        " function"
    )
