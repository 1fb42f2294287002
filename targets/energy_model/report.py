"""What an energy count found under several cost tables, as a record and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from targets.energy_model.alternatives import NOT_AT_HAND, Alternative, Teacher
from targets.energy_model.counts import Counts
from targets.energy_model.estimate import EnergyEstimate, estimate
from targets.hardware.costs import CostTable
from targets.parity_check.report import silence

SCHEMA = "stars.energy/1"
CALLED = {
    "ann": "the ANN of the same topology",
    "teacher": "the teacher",
    "teacher zero-skipping": "the teacher with zeros skipped",
    "qnn": "the bit-matched quantized network",
}


@dataclass(frozen=True)
class EnergyReport:
    """Counts, and what they cost.

    Args:
        counts: exact.
        estimates: one a table.
        teacher: what is known of it.
    """

    counts: Counts
    estimates: tuple[EnergyEstimate, ...]
    teacher: Teacher

    @property
    def warnings(self) -> list[str]:
        """What makes the numbers worth little: layers without a spike."""
        steps = self.counts.steps * self.counts.images
        spiking = {c.source for c in self.counts.connections if c.kind == "AC"}
        rates = {
            p.name: p.spikes / (p.neurons * steps)
            for p in self.counts.populations
            if p.name in spiking
        }
        return silence(rates)

    @property
    def range(self) -> tuple[EnergyEstimate, EnergyEstimate]:
        """The estimates with the least and the most joules."""
        by_joules = sorted(self.estimates, key=lambda one: one.total)
        return by_joules[0], by_joules[-1]

    def sentences(self) -> list[str]:
        """Who wins, table by table, and below which spike rate the SNN would."""
        return [sentence(one, self.counts) for one in self.estimates]

    def to_json(self) -> dict[str, Any]:
        """Plain values; the field "schema" names their meaning."""
        least, most = self.range
        return {
            "schema": SCHEMA,
            "counts": self.counts.to_json(),
            "estimates": [one.to_json() for one in self.estimates],
            "range": {
                "joules_per_image": [one.total / one.images for one in (least, most)],
                "tables": [one.table.name for one in (least, most)],
            },
            "teacher": self.teacher.to_json(),
            "sentences": self.sentences(),
            "warnings": self.warnings,
        }


def report(
    counts: Counts, tables: Sequence[CostTable], teacher: Teacher = NOT_AT_HAND
) -> EnergyReport:
    """The counts under several tables."""
    estimates = tuple(estimate(counts, table, teacher) for table in tables)
    return EnergyReport(counts, estimates, teacher)


def sentence(one: EnergyEstimate, counts: Counts) -> str:
    """Who wins under one table, and where the SNN's limit is."""
    where = f"{one.table.name} ({one.table.process})"
    priced = [a for a in one.alternatives if a.joules is not None]
    if not priced:
        return f"{where}: it prices no network without spikes: nothing to compare with"
    return f"{where}: " + "; ".join(clause(one, a, counts) for a in priced)


def clause(one: EnergyEstimate, other: Alternative, counts: Counts) -> str:
    """The SNN and one alternative."""
    name = CALLED[other.name]
    if other.bits is not None:
        name += f" ({other.bits} bits)"
    joules = other.joules or 0.0
    if one.total == joules:
        verdict = f"the SNN needs as much as {name}"
    elif one.total < joules:
        verdict = f"the SNN wins, needing {one.total / joules:.2f} of {name}"
    else:
        ratio = f"{one.total / joules:.2f} times as much" if joules else "more"
        verdict = f"{name} wins, the SNN needing {ratio}"
    if counts.spike_rate == 0:
        return f"{verdict}; there is no spike to make fewer of"
    if other.crossover is None:
        return f"{verdict}, and the SNN would at no spike rate"
    if other.crossover >= 1:
        return f"{verdict}, as it would at any spike rate"
    return (
        f"{verdict}: the SNN needs less below a spike rate of"
        f" {100 * other.crossover:.1f} % (here {100 * counts.spike_rate:.1f} %)"
    )
