"""The text of an energy report, per image."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from stars.errors import ConfigError, guess
from targets.energy_model.alternatives import Alternative
from targets.energy_model.counts import Counts
from targets.energy_model.estimate import EnergyEstimate
from targets.energy_model.report import EnergyReport
from targets.summary import si

AGAINST = {"qnn": "bit-matched QNN", "ann": "ANN", "teacher": "teacher"}


def energy_text(
    report: EnergyReport, *, layers: bool = False, explain: str | None = None
) -> RenderableType:
    """One line of counts, one row per cost table, and one sentence.

    Args:
        report: to show.
        layers: add counts and joules of each layer.
        explain: name of a cost table to add what is known about it.
    """
    rate = 100 * report.counts.spike_rate
    parts: list[RenderableType] = [
        Text(counts_line(report.counts)),
        tables_grid(report),
        Text(
            "x: energy of the SNN against a network without spikes, same table; below:"
            f" the spike rate under which the SNN needs less (here {rate:.1f} %)"
        ),
        Text(sentence(report)),
    ]
    if layers:
        parts += [counts_grid(report.counts), joules_grid(report)]
    if explain is not None:
        parts.append(Text("\n".join(explanation(report, explain))))
    parts += [Text(f"warning: {text}") for text in report.warnings]
    return Group(*parts)


def counts_line(counts: Counts) -> str:
    """The operations of one image in one line."""
    found = ", ".join(f"{v:,.0f} {n}" for n, v in per_image(counts).items())
    return f"per image (mean of {counts.images:,}, T = {counts.steps}): {found}"


def per_image(counts: Counts) -> dict[str, float]:
    """The operations of one image, by what they are."""
    totals = {
        "spikes": counts.spikes,
        "accumulates": counts.operations("AC"),
        "multiply-accumulates of the image": counts.operations("MAC"),
        "neuron updates": sum(p.updates for p in counts.populations),
    }
    return {name: total / counts.images for name, total in totals.items() if total}


def tables_grid(report: EnergyReport) -> Grid:
    """One row per cost table: the SNN, and how it compares with other networks."""
    found = [
        (one, {a.name: a for a in one.alternatives if a.joules_per_image is not None})
        for one in report.estimates
    ]
    names = [name for name in AGAINST if any(name in priced for _, priced in found)]
    bits = {a.name: a.bits for one in report.estimates for a in one.alternatives}
    rows = [
        (
            one.table.name + (" (bound)" if one.table.bound else ""),
            si(one.joules_per_image, "J"),
            *(against(one, priced[n]) if n in priced else "-" for n in names),
        )
        for one, priced in found
    ]
    titles = [
        AGAINST[n] + (f"\n{bits[n]} bits" if bits.get(n) is not None else "")
        for n in names
    ]
    return Grid(("cost table", "SNN", *titles), rows)


def against(one: EnergyEstimate, other: Alternative) -> str:
    """How much better or worse the SNN is, and where that changes."""
    snn, joules = one.joules_per_image, other.joules_per_image or 0.0
    if not snn or not joules:
        return "equal" if snn == joules else "better" if snn < joules else "worse"
    ratio = max(snn / joules, joules / snn)
    verdict = "equal" if snn == joules else "better" if other.snn_wins else "worse"
    limit = other.crossover_spike_rate
    if limit is None:
        return f"{ratio:.2f}x {verdict}\nat any rate"
    where = f"below {100 * limit:.1f} %" if limit < 1 else "at any rate"
    return f"{ratio:.2f}x {verdict}\n{where}"


def sentence(report: EnergyReport) -> str:
    """Under how many cost tables the SNN needs less than each other network."""
    parts = []
    for name, called in AGAINST.items():
        priced = [
            other
            for one in report.estimates
            for other in one.alternatives
            if other.name == name and other.joules_per_image is not None
        ]
        if priced:
            wins = sum(bool(other.snn_wins) for other in priced)
            parts.append(f"than the {called} under {wins} of {len(priced)}")
    if not parts:
        return "No cost table here prices a network without spikes."
    return f"The SNN needs less energy {', '.join(parts)} cost tables."


def counts_grid(counts: Counts) -> Grid:
    """One row per layer; the operations of a constant image have a separate row."""
    columns: dict[str, Sequence[float]] = {
        "AC, spikes": [counts.operations("AC", p.name) for p in counts.populations],
        "MAC, image": [counts.operations("MAC", p.name) for p in counts.populations],
        "updates": [p.updates for p in counts.populations],
        "spikes": [p.spikes for p in counts.populations],
        "ANN MAC": [p.ann_macs for p in counts.populations],
    }
    bytes_ = {
        "weight bytes": [p.weight_bytes for p in counts.populations],
        "state bytes": [p.state_bytes for p in counts.populations],
    }
    values = [[v / counts.images for v in c] for c in columns.values()]
    values += [list(c) for c in bytes_.values()]
    rows = [
        (p.name, *(f"{column[i]:,.0f}" for column in values))
        for i, p in enumerate(counts.populations)
    ]
    rows.append(("sum", *(f"{sum(column):,.0f}" for column in values)))
    held = sum(c.operations_held for c in counts.connections if c.kind == "MAC")
    if held:
        once = f"{held / counts.images:,.0f}"
        rows.append(("image, if constant", "", once, *[""] * 5))
    title = f"counts per image of {counts.steps} steps"
    return Grid(("layer", *columns, *bytes_), rows, title, rules=[len(values[0])])


def joules_grid(report: EnergyReport) -> Grid:
    """One row per layer, one column per cost table."""
    images, estimates = report.counts.images, report.estimates
    found: dict[str, list[float | None]] = {
        p.name: [e.layers[i].total / images for e in estimates]
        for i, p in enumerate(report.counts.populations)
    }
    layers = len(found)
    found["sum, routed"] = [e.joules_per_image for e in estimates]
    found["with a constant image"] = [e.joules_per_image_held for e in estimates]
    if report.counts.pooled_dense is not None:
        pooled = [e.joules_per_image_pooled_dense for e in estimates]
        found["sum, pooled-dense"] = pooled
    for i, first in enumerate(estimates[0].alternatives if estimates else ()):
        bits = "" if first.bits is None else f", {first.bits} bits"
        others = [e.alternatives[i].joules_per_image for e in estimates]
        found[f"without spikes: {first.name}{bits}"] = others
    rows = [(name, *map(joules, values)) for name, values in found.items()]
    head = ("layer", *(one.table.name for one in estimates))
    return Grid(head, rows, "energy per image", rules=[layers])


def joules(value: float | None) -> str:
    """Joules with an SI prefix; a dash for None."""
    return "-" if value is None else si(value, "J")


def explanation(report: EnergyReport, name: str) -> list[str]:
    """The process, the sources and the comparison of one cost table.

    Raises:
        ConfigError: the report has no such table.
    """
    tables = {one.table.name: one.table for one in report.estimates}
    if name not in tables:
        raise ConfigError(
            f"--explain: no cost table '{name}'{guess(name, tables)}; there are"
            f" {', '.join(tables)}"
        )
    table = tables[name]
    lines = [
        f"{name}: {table.title}, {table.process}. {' '.join(table.about.split())}",
        *(text for text in report.sentences if text.startswith(f"{name} (")),
    ]
    if report.teacher.reason is not None:
        lines.append(f"zero-skipping: {report.teacher.reason}")
    return lines
