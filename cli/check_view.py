"""The text of a fit report."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from targets.chip.fit import FitReport

BYTE = 8
KILO = 1024


def check_text(report: FitReport) -> RenderableType:
    """One row per layer, the sums, and notes on the numbers."""
    total = report.to_json()
    text = Table("layer", title=escape(report.limits.title), show_footer=True)
    text.columns[0].footer = "sum"
    memory = sum(layer.synapse_bits for layer in report.layers)
    columns = {
        "neurons": (f"{total['neurons']:,}", "neurons"),
        "synapses": (f"{total['synapses']:,}", "synapses"),
        "fan-in": ("", "fan_in"),
        "cores fed": ("", "fan_out"),
        "KB": (f"{memory / BYTE / KILO:,.0f}", None),
        "cores": (f"{report.cores:,}", "cores"),
        "shared: synapses": ("", "synapses_shared"),
        "cores, at least": (f"{report.cores_shared:,}", "cores_shared"),
    }
    for name, (footer, _) in columns.items():
        text.add_column(name, footer, justify="right")
    for layer in report.layers:
        cells = [
            f"{layer.synapse_bits / BYTE / KILO:,.1f}"
            if field is None
            else f"{getattr(layer, field):,}"
            for _, field in columns.values()
        ]
        text.add_row(escape(layer.node), *cells)
    verdict = f"{report.limits.title}: {report.verdict}"
    return Group(verdict, text, Text("\n".join(notes(report))))


def notes(report: FitReport) -> list[str]:
    """Assumptions, and unchecked limits."""
    lines = [" ".join(report.limits.about.split())]
    if report.limits.unchecked:
        unchecked = ", ".join(report.limits.unchecked)
        lines.append(f"not checked, because no figure is published: {unchecked}")
    return lines
