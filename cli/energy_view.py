"""Counts and joules for people, per image."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from targets.energy import Counts, EnergyEstimate

NANO = 1e-9


def energy_text(counts: Counts, estimates: Sequence[EnergyEstimate]) -> RenderableType:
    """One row a layer, one a sum, and what the numbers are."""
    text = Table("layer", title=f"per image of {counts.steps} steps", show_footer=True)
    columns = {
        "spikes AC": [counts.operations("AC", p.name) for p in counts.populations],
        "image MAC": [counts.operations("MAC", p.name) for p in counts.populations],
        "updates": [p.updates for p in counts.populations],
        "spikes": [p.spikes for p in counts.populations],
        "ANN MAC": [p.ann_macs for p in counts.populations],
    }
    text.columns[0].footer = "sum"
    for title, values in columns.items():
        footer = f"{sum(values) / counts.images:,.0f}"
        text.add_column(title, footer, justify="right")
    for one in estimates:
        footer = f"{one.total / counts.images / NANO:,.1f}"
        text.add_column(f"{one.table.name} nJ", footer, justify="right")
    for i, population in enumerate(counts.populations):
        text.add_row(
            escape(population.name),
            *(f"{values[i] / counts.images:,.0f}" for values in columns.values()),
            *(f"{e.layers[i].total / counts.images / NANO:,.1f}" for e in estimates),
        )
    return Group(text, Text("\n".join(notes(counts, estimates))))


def notes(counts: Counts, estimates: Sequence[EnergyEstimate]) -> list[str]:
    """What was counted, on what, and what is in the tables."""
    held = sum(c.operations_held for c in counts.connections if c.kind == "MAC")
    lines = [
        f"mean over {counts.images:,} images; operations are exact counts, pools routed"
        " into the weights that follow",
    ]
    if held:
        lines.append(
            f"the held image needs {held / counts.images:,.0f} MAC when its first layer"
            " is computed once, not at every step"
        )
    for one in estimates:
        about = " ".join(one.table.about.split())
        lines.append(f"{one.table.name}: {one.table.title}. {about}")
        if one.ann is not None:
            lines.append(
                f"  the ANN of the same topology: {one.ann / counts.images / NANO:,.1f}"
                " nJ per image"
            )
    return lines
