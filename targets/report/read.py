"""Read the files of a run: parity.json, energy.json, metrics, manifest and picture.

A missing file gives None, and the report states that it is missing. A damaged file
raises a FormatError.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from pydantic import Field, ValidationError

from stars.errors import FormatError
from stars.files.json_toml import parse_json
from stars.files.writing import read_json
from targets.energy_model.report import EnergyReport
from targets.parity_check.report import ParityReport
from targets.record import Record
from targets.report.model import RunConditions, Series

Kind = TypeVar("Kind", bound=Record)
PICTURE_SIDE = 640  # pixels; larger pictures are shrunk, because the page embeds them


class TeacherOf(Record):
    """The teacher of a student."""

    source: str | None = None
    sha256: str | None = None


class Manifest(RunConditions):
    """The part of manifest.json that a page shows; other keys are ignored."""

    command: tuple[str, ...] = ()
    sha256: dict[str, str] = Field(default_factory=dict)
    teacher: TeacherOf = TeacherOf()
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None
    grid_accuracy: float | None = None
    rates: dict[str, float] = Field(default_factory=dict)


def read_manifest(path: Path) -> Manifest:
    """The manifest; an empty one if the file is missing.

    Raises:
        FormatError: the file is damaged.
    """
    return validated(Manifest, path, read_object(path) or {})


def validated(kind: type[Kind], path: Path, content: Mapping[str, Any]) -> Kind:
    """The content of the file `path` as a record.

    Raises:
        FormatError: the content does not fit the record.
    """
    try:
        return kind.model_validate(content)
    except (ValidationError, ArithmeticError) as error:
        where = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise FormatError(
            f"'{path}' is damaged at {where}; run its command again"
        ) from error


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing.

    Raises:
        FormatError: the file is unreadable or does not hold a JSON object.
    """
    return read_json(path) if path.is_file() else None


def read_parity(path: Path) -> ParityReport | None:
    """The result of `stars parity`; None if the file is missing.

    Raises:
        FormatError: the file is damaged, or its schema is unknown.
    """
    return read_result(ParityReport, path, "stars.parity/1", "stars.parity/2")


def read_energy(path: Path) -> EnergyReport | None:
    """The result of `stars energy`; None if the file is missing.

    Raises:
        FormatError: the file is damaged, or its schema is unknown.
    """
    return read_result(EnergyReport, path, "stars.energy/1", "stars.energy/2")


def read_result(kind: type[Kind], path: Path, *schemas: str) -> Kind | None:
    """The record that a command wrote; None if the file is missing.

    Raises:
        FormatError: the file is damaged, or has another schema.
    """
    content = read_object(path)
    if content is None:
        return None
    if content.get("schema") not in schemas:
        raise FormatError(
            f"'{path}' has schema {content.get('schema')!r}, expected"
            f" {' or '.join(schemas)}; run its command again, or upgrade stars if a"
            " newer version wrote it"
        )
    return validated(kind, path, content)


def read_metrics(path: Path) -> tuple[Series, ...]:
    """The series in metrics.jsonl, by name; none if the file is missing.

    Raises:
        FormatError: a line is not a JSON object with a round.
    """
    if not path.is_file():
        return ()
    points: dict[str, list[tuple[int, float | None]]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
            place = int(row.pop("round"))
            numbers = {
                n: float(v) for n, v in row.items() if isinstance(v, int | float)
            }
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as error:
            raise FormatError(
                f"'{path}', line {number}: not a JSON object with a round ({error!r})"
            ) from error
        for name, value in numbers.items():
            shown = value if math.isfinite(value) else None
            points.setdefault(name, []).append((place, shown))
    return tuple(
        Series(name=name, rounds=[p[0] for p in row], values=[p[1] for p in row])
        for name, row in points.items()
    )


def read_picture(path: Path) -> bytes | None:
    """A picture as a PNG of at most 640 x 640 pixels; None if the file is missing.

    Raises:
        FormatError: the file is not a readable picture.
    """
    if not path.is_file():
        return None
    try:
        with Image.open(path) as opened:
            opened.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
            buffer = io.BytesIO()
            opened.save(buffer, format="PNG")
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(f"'{path}' is not a readable picture: {error}") from error
    return buffer.getvalue()
