"""side_by_side(reports): measurements and settings of several runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from stars.errors import ConfigError
from targets.record import Record
from targets.report.model import Report
from targets.report.sentences import flat, percent, verdict
from targets.summary import si

NOTHING = "-"


class Row(Record):
    """One quantity of every run, as text; "-" if a run does not have it."""

    name: str
    values: tuple[str, ...]


class SideBySide(Record):
    """Several runs side by side.

    `differences` holds only the settings that differ.
    """

    schema_: Literal["stars.compare/1"] = Field("stars.compare/1", alias="schema")
    runs: tuple[str, ...]
    verdicts: tuple[Literal["exact", "failed", "unknown"], ...]
    accuracies: tuple[float | None, ...] = Field(description="of the exported network")
    seconds: tuple[float | None, ...]
    measured: tuple[Row, ...]
    differences: tuple[Row, ...]


def side_by_side(reports: Sequence[Report]) -> SideBySide:
    """The measurements and settings of several runs.

    Raises:
        ConfigError: there are fewer than two reports.
    """
    check_count(len(reports))
    return SideBySide(
        runs=names(reports),
        verdicts=[verdict(report).state for report in reports],
        accuracies=[report.accuracies.grid for report in reports],
        seconds=[report.provenance.seconds for report in reports],
        measured=measured(reports),
        differences=differences([report.provenance.config for report in reports]),
    )


def check_count(runs: int) -> None:
    """Check that there are two runs or more.

    Raises:
        ConfigError: there are fewer than two.
    """
    if runs < 2:
        raise ConfigError(f"got {runs} run; give two or more to compare")


def names(reports: Sequence[Report]) -> list[str]:
    """The runs' names, or their paths if two have the same name."""
    short = [report.name for report in reports]
    if len(set(short)) == len(short):
        return short
    return [report.path for report in reports]


def measured(reports: Sequence[Report]) -> list[Row]:
    """One row per measurement; rows that no run has are left out."""
    readers: dict[str, Callable[[Report], str | None]] = {
        "accuracy of the teacher": lambda r: share(r.accuracies.teacher),
        "accuracy of the student": lambda r: share(r.accuracies.student),
        "accuracy on the grid": lambda r: share(r.accuracies.grid),
        "parity": lambda r: verdict(r).sentence,
        "certificate": lambda r: r.certificate.verdict if r.certificate else None,
        "neurons": lambda r: f"{r.network.neurons:,}" if r.network else None,
        "weights": lambda r: f"{r.network.weights:,}" if r.network else None,
        "steps": lambda r: str(r.network.steps) if r.network else None,
        "seconds": lambda r: count(r.provenance.seconds),
        "training data": training,
    }
    rows = [row(name, [read(one) for one in reports]) for name, read in readers.items()]
    energies = [
        {e.table.title: si(e.joules_per_image, "J") for e in r.energy.estimates}
        if r.energy
        else {}
        for r in reports
    ]
    rates = [
        {rate.layer: f"{100 * rate.rate:.3g} %" for rate in r.rates} for r in reports
    ]
    rows += [row(f"energy per image, {n}", v) for n, v in aligned(energies)]
    rows += [row(f"firing rate, {n}", v) for n, v in aligned(rates)]
    return [one for one in rows if set(one.values) != {NOTHING}]


def row(name: str, values: Sequence[str | None]) -> Row:
    """One row; None becomes a dash."""
    return Row(name=name, values=[NOTHING if v is None else v for v in values])


def share(value: float | None) -> str | None:
    """An accuracy as text."""
    return None if value is None else percent(value)


def count(value: float | None) -> str | None:
    """Seconds as text."""
    return None if value is None else f"{value:,.0f}"


def training(report: Report) -> str | None:
    """The training data of the student, as text."""
    about = report.provenance
    if about.data_free is None:
        return None
    return "none: data-free" if about.data_free else str(about.training_data)


def aligned(
    found: Sequence[Mapping[str, str]],
) -> list[tuple[str, list[str | None]]]:
    """(key, its value in each mapping) for every key, in order of appearance."""
    keys = dict.fromkeys(key for one in found for key in one)
    return [(key, [one.get(key) for one in found]) for key in keys]


def differences(configs: Sequence[Mapping[str, object]]) -> list[Row]:
    """One row per setting that differs between runs, by its dotted key."""
    rows = [row(key, v) for key, v in aligned([dict(flat(one)) for one in configs])]
    return [one for one in rows if len(set(one.values)) > 1]
