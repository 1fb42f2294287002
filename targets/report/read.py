"""Reads what a run left behind: parity.json, energy.json, metrics, manifest, picture.

A file that is not there is None, for the report says so; one that is there and cannot
be understood is a FormatError.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from pydantic import Field, ValidationError

from stars.errors import FormatError
from stars.files.json_toml import parse_json
from stars.files.writing import read_json
from targets.parity_check.report import ParityReport
from targets.record import Record
from targets.report.model import CostEstimate, Energy, Series

Kind = TypeVar("Kind", bound=Record)
PARITY_SCHEMAS = ("stars.parity/1",)
ENERGY_SCHEMAS = ("stars.energy/1",)
OPERATIONS = {"AC": "spike accumulates", "MAC": "image multiply-accumulates"}
PER_IMAGE = re.compile(r"(\w+)_joules_per_image")
PICTURE_SIDE = 640  # pixels; a larger picture is shrunk, for the page stays one file


class TeacherOf(Record):
    """Which teacher a student was distilled from."""

    source: str | None = None
    sha256: str | None = None


class Manifest(Record):
    """What a page shows of manifest.json; keys that are not known are left out."""

    command: tuple[str, ...] = ()
    seed: int | None = None
    seconds: float | None = None
    python: str | None = None
    machine: str | None = None
    git_commit: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict)
    teacher: TeacherOf = TeacherOf()
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None
    grid_accuracy: float | None = None
    rates: dict[str, float] = Field(default_factory=dict)


def read_manifest(path: Path) -> Manifest:
    """The manifest; an empty one without the file.

    Raises:
        FormatError: damaged.
    """
    return validated(Manifest, path, read_object(path) or {})


def validated(kind: type[Kind], path: Path, content: Mapping[str, Any]) -> Kind:
    """`content` of a file as a record.

    Raises:
        FormatError: it is not of this kind.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise damaged(path, error) from error


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None without the file.

    Raises:
        FormatError: not readable, not JSON, or no object.
    """
    return read_json(path) if path.is_file() else None


def read_parity(path: Path) -> ParityReport | None:
    """What `stars parity` wrote; None without the file.

    Raises:
        FormatError: damaged, or of a version that is not known here.
    """
    content = read_object(path)
    if content is None:
        return None
    check_schema(path, content, PARITY_SCHEMAS)
    return validated(ParityReport, path, content)


def read_energy(path: Path) -> Energy | None:
    """What `stars energy` wrote, per image; None without the file.

    Raises:
        FormatError: damaged, or of a version that is not known here.
    """
    content = read_object(path)
    if content is None:
        return None
    check_schema(path, content, ENERGY_SCHEMAS)
    try:
        counts = content["counts"]
        images = int(counts["images"])
        return Energy(
            images=images,
            operations=operations(counts, images),
            estimates=tuple(cost_estimate(one, images) for one in content["estimates"]),
        )
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
    ) as error:
        raise damaged(path, error) from error


def operations(counts: Mapping[str, Any], images: int) -> dict[str, float]:
    """Mean operations per image, by kind."""
    found = {
        name: sum(c["operations"] for c in counts["connections"] if c["kind"] == kind)
        for kind, name in OPERATIONS.items()
    }
    found["neuron updates"] = sum(p["updates"] for p in counts["populations"])
    found["spikes"] = sum(p["spikes"] for p in counts["populations"])
    ann = "multiply-accumulates of an ANN of the same topology"
    found[ann] = sum(p["ann_macs"] for p in counts["populations"])
    return {name: value / images for name, value in found.items()}


def cost_estimate(content: Mapping[str, Any], images: int) -> CostEstimate:
    """One entry of "estimates"; its layers' joules are over all images."""
    others = {
        match[1]: float(value)
        for key, value in content.items()
        if (match := PER_IMAGE.fullmatch(key)) and value is not None
    }
    table = content["table"]
    return CostEstimate(
        table=table["name"],
        title=table["title"],
        about=" ".join(table["about"].split()),
        joules=content["joules_per_image"],
        others=others,
        layers={
            layer["name"]: {
                part: float(joules) / images
                for part, joules in layer.items()
                if part not in {"name", "total"} and isinstance(joules, int | float)
            }
            for layer in content["layers"]
        },
    )


def check_schema(
    path: Path, content: Mapping[str, Any], known: tuple[str, ...]
) -> None:
    """Refuse a file whose fields may mean something else.

    Raises:
        FormatError: another schema.
    """
    found = content.get("schema")
    if found not in known:
        raise FormatError(
            f"'{path}' has schema {found!r}, expected {' or '.join(known)}; a newer"
            " version wrote it, or it is another file"
        )


def damaged(path: Path, error: Exception) -> FormatError:
    """The error for a file whose content is not what its schema says."""
    text = repr(error)
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        text = ": ".join([".".join(map(str, first["loc"])), first["msg"]])
    return FormatError(f"'{path}' is damaged at {text}; run its command again")


def read_metrics(path: Path) -> tuple[Series, ...]:
    """The numbers in metrics.jsonl by name, over the rounds; none without the file.

    Raises:
        FormatError: a line is no JSON object with a round.
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
                f"'{path}', line {number}: no JSON object with a round ({error!r})"
            ) from error
        for name, value in numbers.items():
            shown = value if math.isfinite(value) else None
            points.setdefault(name, []).append((place, shown))
    return tuple(
        Series(name=name, rounds=[p[0] for p in row], values=[p[1] for p in row])
        for name, row in points.items()
    )


def read_picture(path: Path) -> bytes | None:
    """A PNG of at most 640 x 640 pixels; None without the file.

    Raises:
        FormatError: no readable picture.
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
