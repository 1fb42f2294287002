"""The text of a fit report."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from targets.chip.fit import FitReport
from targets.chip.program import ProgramFit

BYTE = 8
KILO = 1024


def check_text(report: FitReport) -> RenderableType:
    """One row per layer, the sums, and notes on the numbers."""
    total = report.to_json()
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
    rows = []
    for layer in report.layers:
        cells = [
            f"{layer.synapse_bits / BYTE / KILO:,.1f}"
            if field is None
            else f"{getattr(layer, field):,}"
            for _, field in columns.values()
        ]
        rows.append((layer.node, *cells))
    rows.append(("sum", *(footer for footer, _ in columns.values())))
    grid = Grid(("layer", *columns), rows, rules=[len(report.layers)])
    verdict = f"{report.limits.title}: {report.verdict}"
    return Group(Text(verdict), grid, Text("\n".join(notes(report))))


def program_text(report: ProgramFit) -> RenderableType:
    """One row per layer of the C, and the limits of a microcontroller."""
    rows = [
        (
            layer.population.name,
            ", ".join(link.kernel for link in layer.links),
            f"{layer.flash:,}",
            f"{layer.ram:,}",
        )
        for layer in report.program.layers
    ]
    names = ("layer", "kernels", "flash, bytes", "RAM, bytes")
    whole = ("sum, with what layers share", "", f"{report.flash:,}", f"{report.ram:,}")
    grid = Grid(names, [*rows, whole], rules=[len(rows)])
    verdict = f"{report.limits.title}: {report.verdict}"
    return Group(Text(verdict), grid, Text("\n".join(report.notes())))


def notes(report: FitReport) -> list[str]:
    """Assumptions, and unchecked limits."""
    lines = [" ".join(report.limits.about.split())]
    if report.limits.unchecked:
        unchecked = ", ".join(report.limits.unchecked)
        lines.append(f"not checked, because no figure is published: {unchecked}")
    return lines
