"""side_by_side(reports): measurements and settings of several runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from pydantic import Field

from stars.errors import ConfigError
from targets.record import Record
from targets.report.model import Report, Series
from targets.report.sentences import flat, percent, verdict
from targets.summary import si

NOTHING = "-"


class Row(Record):
    """One quantity of every run, as text; "-" if a run does not have it."""

    name: str
    values: tuple[str, ...]
    numbers: tuple[float | None, ...] = Field(
        (), description="the same as numbers; empty if they are no numbers"
    )
    deltas: tuple[str, ...] = Field((), description="from the first run; or empty")
    best: tuple[int, ...] = Field((), description="positions of the best values")

    @property
    def cells(self) -> list[str]:
        """Each value with its difference from the first run, the best ones marked."""
        found = []
        for i, value in enumerate(self.values):
            delta = self.deltas[i] if self.deltas else ""
            mark = " *" if i in self.best else ""
            found.append(f"{value}{f' ({delta})' if delta else ''}{mark}")
        return found


class SeedGroup(Record):
    """Runs of one configuration that differ in their seed alone."""

    runs: tuple[str, ...]
    means: dict[str, str] = Field(
        description="mean and standard deviation (n - 1) of each quantity"
    )


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
    seeds: tuple[SeedGroup, ...] = ()
    differences: tuple[Row, ...]
    curves: dict[str, tuple[Series | None, ...]] = Field(
        default_factory=dict, description="each training metric of every run"
    )


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
        seeds=seed_groups(reports),
        curves=curves(reports),
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
    texts: dict[str, Callable[[Report], str | None]] = {
        "parity": lambda r: verdict(r).sentence,
        "certificate": lambda r: r.certificate.verdict if r.certificate else None,
        "training data": training,
    }
    rows = [numeric(one, reports) for one in quantities(reports)]
    rows[3:3] = [row(name, [read(r) for r in reports]) for name, read in texts.items()]
    return [one for one in rows if set(one.values) != {NOTHING}]


@dataclass(frozen=True)
class Quantity:
    """A number of a run.

    Args:
        name: of its row.
        number: reads it from a report.
        show: writes it.
        better: the better direction; 0 if there is none.
        share: whether differences are percentage points; else they are factors.
    """

    name: str
    number: Callable[[Report], float | None]
    show: Callable[[float], str]
    better: Literal[-1, 0, 1] = 0
    share: bool = False


def quantities(reports: Sequence[Report]) -> list[Quantity]:
    """Every quantity that one of the runs has, the accuracies first."""

    def accuracy(name: str) -> Callable[[Report], float | None]:
        return lambda r: getattr(r.accuracies, name)

    def size(name: str) -> Callable[[Report], float | None]:
        return lambda r: getattr(r.network, name) if r.network else None

    def rate(layer: str) -> Callable[[Report], float | None]:
        return lambda r: {one.layer: one.rate for one in r.rates}.get(layer)

    def joules(title: str) -> Callable[[Report], float | None]:
        return lambda r: energies(r).get(title)

    layers = dict.fromkeys(one.layer for r in reports for one in r.rates)
    titles = dict.fromkeys(title for r in reports for title in energies(r))
    whole = "{:,.0f}".format
    return [
        Quantity("accuracy of the teacher", accuracy("teacher"), percent, share=True),
        Quantity(
            "accuracy of the student", accuracy("student"), percent, 1, share=True
        ),
        Quantity("accuracy on the grid", accuracy("grid"), percent, 1, share=True),
        Quantity("neurons", size("neurons"), whole, -1),
        Quantity("weights", size("weights"), whole, -1),
        Quantity("steps", size("steps"), whole),
        Quantity("seconds", lambda r: r.provenance.seconds, whole, -1),
        *(
            Quantity(f"energy per image, {t}", joules(t), lambda j: si(j, "J"), -1)
            for t in titles
        ),
        *(
            Quantity(
                f"firing rate, {n}", rate(n), lambda v: f"{100 * v:.3g} %", share=True
            )
            for n in layers
        ),
    ]


def energies(report: Report) -> dict[str, float]:
    """Joules per image by the title of the cost table."""
    found = report.energy.estimates if report.energy else ()
    return {one.table.title: one.joules_per_image for one in found}


def numeric(one: Quantity, reports: Sequence[Report]) -> Row:
    """The row of a quantity, with differences from the first run and the best."""
    numbers = [one.number(report) for report in reports]
    known = {v for v in numbers if v is not None}
    best: list[int] = []
    if one.better and len(known) > 1:
        target = max(known) if one.better > 0 else min(known)
        best = [i for i, v in enumerate(numbers) if v == target]
    return Row(
        name=one.name,
        values=[NOTHING if v is None else one.show(v) for v in numbers],
        numbers=numbers,
        deltas=[difference(one, numbers[0], v) for v in numbers],
        best=best,
    )


def difference(one: Quantity, first: float | None, value: float | None) -> str:
    """How a value differs from that of the first run; empty if it does not."""
    if first is None or value is None or first == value:
        return ""
    if one.share:
        return f"{100 * (value - first):+.2f} points"
    return f"{value / first:.2f}x" if first else ""


def seed_groups(reports: Sequence[Report]) -> list[SeedGroup]:
    """The runs of each configuration that ran with more than one seed."""
    groups: dict[str, list[int]] = {}
    for i, report in enumerate(reports):
        config = {k: v for k, v in report.provenance.config.items() if k != "seed"}
        if config:
            key = json.dumps(config, sort_keys=True, default=str)
            groups.setdefault(key, []).append(i)
    called = names(reports)
    return [
        SeedGroup(
            runs=[called[i] for i in places],
            means=means([reports[i] for i in places]),
        )
        for places in groups.values()
        if len({reports[i].provenance.seed for i in places}) > 1
    ]


def means(reports: Sequence[Report]) -> dict[str, str]:
    """Mean and deviation of the quantities that all runs have and that vary."""
    found = {}
    for one in quantities(reports):
        numbers = [v for v in map(one.number, reports) if v is not None]
        if len(numbers) == len(reports) and len(set(numbers)) > 1:
            deviation = one.show(stdev(numbers))
            found[one.name] = f"{one.show(mean(numbers))} ± {deviation}"
    return found


def curves(reports: Sequence[Report]) -> dict[str, list[Series | None]]:
    """Each training metric of every run; None for a run without it."""
    series = [{one.name: one for one in r.training} for r in reports]
    found = dict.fromkeys(name for one in series for name in one if name != "seconds")
    return {name: [one.get(name) for one in series] for name in found}


def row(name: str, values: Sequence[str | None]) -> Row:
    """One row of texts; None becomes a dash."""
    return Row(name=name, values=[NOTHING if v is None else v for v in values])


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
