"""The text of an energy report, per image."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from targets.energy_model.counts import Counts
from targets.energy_model.report import EnergyReport

NANO = 1e-9


def energy_text(report: EnergyReport) -> RenderableType:
    """Counts per layer, joules per layer and cost table, and notes."""
    return Group(
        counts_table(report.counts),
        joules_table(report),
        alternatives_table(report),
        Text("\n".join(notes(report))),
    )


def counts_table(counts: Counts) -> Table:
    """One row per layer; the operations of a constant image have a separate row."""
    text = Table("layer", title=f"counts per image of {counts.steps} steps")
    columns = {
        "AC, spikes": [counts.operations("AC", p.name) for p in counts.populations],
        "MAC, image": [counts.operations("MAC", p.name) for p in counts.populations],
        "updates": [p.updates for p in counts.populations],
        "spikes": [p.spikes for p in counts.populations],
        "ANN MAC": [p.ann_macs for p in counts.populations],
    }
    for title in (*columns, "weight bytes", "state bytes"):
        text.add_column(title, justify="right")
    for i, p in enumerate(counts.populations):
        values = [column[i] / counts.images for column in columns.values()]
        row = (*values, p.weight_bytes, p.state_bytes)
        text.add_row(escape(p.name), *(f"{value:,.0f}" for value in row))
    sums = [sum(column) / counts.images for column in columns.values()]
    sums.append(sum(p.weight_bytes for p in counts.populations))
    sums.append(sum(p.state_bytes for p in counts.populations))
    text.add_section()
    text.add_row("sum", *(f"{value:,.0f}" for value in sums))
    held = sum(c.operations_held for c in counts.connections if c.kind == "MAC")
    if held:
        once = f"{held / counts.images:,.0f}"
        text.add_row("image, if constant", "", once, *[""] * 5)
    return text


def joules_table(report: EnergyReport) -> Table:
    """One row per layer, one column per cost table."""
    text = Table("layer", title="nJ per image")
    for one in report.estimates:
        mark = " (bound)" if one.table.bound else ""
        text.add_column(f"{escape(one.table.name)}{mark}", justify="right")

    def row(name: str, joules: list[float | None]) -> None:
        text.add_row(name, *map(nano, joules))

    images, estimates = report.counts.images, report.estimates
    for i, population in enumerate(report.counts.populations):
        row(escape(population.name), [e.layers[i].total / images for e in estimates])
    text.add_section()
    row("sum, routed", [e.joules_per_image for e in estimates])
    row("with a constant image", [e.joules_per_image_held for e in estimates])
    if report.counts.pooled_dense is not None:
        row("sum, pooled-dense", [e.joules_per_image_pooled_dense for e in estimates])
    return text


def alternatives_table(report: EnergyReport) -> Table:
    """One row per network without spikes, one column per cost table."""
    text = Table("without spikes", title="nJ per image, same table, same process")
    for one in report.estimates:
        text.add_column(
            f"{escape(one.table.name)}\n{escape(one.table.process)}", justify="right"
        )
    for i, first in enumerate(report.estimates[0].alternatives):
        cells = [nano(e.alternatives[i].joules_per_image) for e in report.estimates]
        bits = "" if first.bits is None else f", {first.bits} bits"
        text.add_row(first.name + bits, *cells)
    return text


def nano(joules: float | None) -> str:
    """Nanojoules with one decimal; a dash for None."""
    return "-" if joules is None else f"{joules / NANO:,.1f}"


def notes(report: EnergyReport) -> list[str]:
    """Notes on the counts, the cost tables and the comparison, then the warnings."""
    counts = report.counts
    lines = [
        f"mean over {counts.images:,} images; operations are exact counts; routed: a"
        " pool is part of the weights that follow"
    ]
    lines.append(
        f"mean spike rate {100 * counts.spike_rate:.1f} % per step,"
        f" {counts.spikes_per_synapse:.2f} spikes per synapse and image"
    )
    if report.teacher.reason is not None:
        lines.append(f"zero-skipping: {report.teacher.reason}")
    lines += [
        f"{one.table.name}: {one.table.title}, {one.table.process}."
        f" {' '.join(one.table.about.split())}"
        for one in report.estimates
    ]
    lines += report.sentences
    if report.range is not None:
        lines.append(
            f"range: {report.range_sentence}; do not compare different hardware"
        )
    return lines + [f"warning: {text}" for text in report.warnings]
