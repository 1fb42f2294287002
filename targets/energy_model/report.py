"""EnergyReport: counts and their price under cost tables, as energy.json holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, computed_field

from targets.energy_model.alternatives import NOT_AT_HAND, Alternative, TeacherLayers
from targets.energy_model.counts import Counts
from targets.energy_model.estimate import EnergyEstimate, estimate
from targets.hardware.costs import CostTable
from targets.origin import Origin
from targets.parity_check.report import silence
from targets.record import Record
from targets.summary import SummarizedRecord, Summary, si

CALLED = {
    "ann": "the ANN of the same topology",
    "teacher": "the teacher",
    "teacher zero-skipping": "the teacher with zeros skipped",
    "qnn": "the bit-matched quantized network",
}


class EnergyRange(Record):
    """The lowest and the highest estimate, with their cost tables."""

    joules_per_image: tuple[float, float]
    tables: tuple[str, str]


class EnergyReport(SummarizedRecord):
    """The result of `stars energy`.

    Args:
        counts: exact counts.
        estimates: one per cost table.
        teacher: its layers, or why they are unknown.
        sentences: for each table, who wins, and the spike rate below which the SNN
            needs less.
        warnings: about layers without a spike.
    """

    schema_: Literal["stars.energy/1", "stars.energy/2"] = Field(
        "stars.energy/2", alias="schema"
    )
    origin: Origin | None = Field(
        None, description="the file that ran; None in schema 1, which is unbound"
    )
    counts: Counts
    estimates: tuple[EnergyEstimate, ...]
    teacher: TeacherLayers = NOT_AT_HAND
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    decisions: tuple[int, ...] = Field(
        (), description="the network's class of each image; empty in schema 1"
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def range(self) -> EnergyRange | None:
        """The lowest and the highest estimate; None without a cost table."""
        if not self.estimates:
            return None
        by_joules = sorted(self.estimates, key=lambda one: one.joules)
        low, high = by_joules[0], by_joules[-1]
        return EnergyRange(
            joules_per_image=(low.joules_per_image, high.joules_per_image),
            tables=(low.table.name, high.table.name),
        )

    @property
    def width(self) -> dict[str, int]:
        """How many images each cost table prices."""
        return {one.table.name: self.counts.images for one in self.estimates}

    @property
    def range_sentence(self) -> str | None:
        """The range over cost tables, with the two tables; None without a table."""
        if self.range is None:
            return None
        titles = {
            table.name: ", ".join(filter(None, (table.title, table.process)))
            for table in (one.table for one in self.estimates)
        }
        joules, names = self.range.joules_per_image, self.range.tables
        low, high = (
            f"{si(each, 'J')} ({titles[name]})"
            for each, name in zip(joules, names, strict=True)
        )
        return f"{low} per image" if low == high else f"{low} to {high} per image"

    def summary(self) -> Summary:
        """One row per cost table, then the warnings."""
        names = dict.fromkeys(name for one in self.estimates for name in one.others)
        return Summary(
            verdict=f"energy: {self.range_sentence or 'no cost table'}",
            head=("cost table", "SNN", *(name.replace("_", " ") for name in names)),
            rows=[
                (
                    one.table.title,
                    si(one.joules_per_image, "J"),
                    *(
                        si(one.others[name], "J") if name in one.others else "-"
                        for name in names
                    ),
                )
                for one in self.estimates
            ],
            notes=[f"warning: {one}" for one in self.warnings],
        )


def report(
    counts: Counts,
    tables: Sequence[CostTable],
    teacher: TeacherLayers = NOT_AT_HAND,
    warnings: Sequence[str] = (),
    *,
    accuracy: float | None = None,
    origin: Origin | None = None,
    decisions: Sequence[int] = (),
) -> EnergyReport:
    """The report on counts under several cost tables, with warnings about them.

    Args:
        counts: of the SNN.
        tables: that price them.
        teacher: its layers.
        warnings: in addition to those about silence.
        accuracy: of the SNN, 0 to 1; None if it was not measured.
        origin: the files and inputs that were counted.
        decisions: the class of each image.
    """
    measured = "not measured" if accuracy is None else f"{100 * accuracy:.2f} %"
    snn = f"the SNN (accuracy {measured})"
    estimates = tuple(estimate(counts, table, teacher) for table in tables)
    return EnergyReport(
        origin=origin,
        decisions=tuple(decisions),
        counts=counts,
        estimates=estimates,
        teacher=teacher,
        sentences=tuple(sentence(one, counts, snn) for one in estimates),
        warnings=(*warnings, *silence(spike_rates(counts))),
    )


def spike_rates(counts: Counts) -> dict[str, float]:
    """Spikes per neuron and step of every population that sends spikes."""
    steps = counts.steps * counts.images
    spiking = {c.source for c in counts.connections if c.kind == "AC"}
    return {
        p.name: p.spikes / (p.neurons * steps)
        for p in counts.populations
        if p.name in spiking
    }


def sentence(one: EnergyEstimate, counts: Counts, snn: str) -> str:
    """Who wins under one table, and the spike rate below which the SNN needs less."""
    where = f"{one.table.name} ({one.table.process})"
    priced = [a for a in one.alternatives if a.joules_per_image is not None]
    if not priced:
        return (
            f"{where}: nothing to compare with, because the table prices no network"
            " without spikes"
        )
    return f"{where}: " + "; ".join(clause(one, a, counts, snn) for a in priced)


def clause(one: EnergyEstimate, other: Alternative, counts: Counts, snn: str) -> str:
    """The comparison of the SNN, which is called `snn`, with one alternative."""
    name = CALLED[other.name]
    if other.bits is not None:
        name += f" ({other.bits} bits)"
    mine, joules = one.joules_per_image, other.joules_per_image or 0.0
    if mine == joules:
        verdict = f"{snn} needs as much as {name}"
    elif other.snn_wins:
        verdict = f"{snn} wins with {mine / joules:.2f}x the energy of {name}"
    else:
        ratio = f"{mine / joules:.2f}x the energy" if joules else "more energy"
        verdict = f"{name} wins: {snn} needs {ratio}"
    if counts.spike_rate == 0:
        return f"{verdict}; there are no spikes to save"
    if other.crossover_spike_rate is None:
        return f"{verdict} and wins at no spike rate"
    if other.crossover_spike_rate >= 1:
        return f"{verdict}, and it does so at any spike rate"
    limit, here = 100 * other.crossover_spike_rate, 100 * counts.spike_rate
    return (
        f"{verdict}; the SNN needs less below a spike rate of {limit:.1f} %"
        f" (here {here:.1f} %)"
    )
