"""Summary: a report in a few lines, as plain text or as a small HTML table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from targets.record import Record


@dataclass(frozen=True)
class Summary:
    """A short form of a report.

    Args:
        verdict: one sentence.
        head, rows: the cells of a table; the first column holds names.
        notes: lines below the table.
    """

    verdict: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The summary as plain text with aligned columns."""
        table = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        return "\n".join([self.verdict, *lines, *self.notes])

    def html(self) -> str:
        """The summary as HTML; all text is escaped."""

        def row(tag: str, cells: Sequence[str]) -> Markup:
            cell = Markup(f"<{tag}>{{}}</{tag}>")
            return Markup("<tr>{}</tr>").format(
                Markup("").join(map(cell.format, cells))
            )

        rows = Markup("").join(
            [row("th", self.head), *(row("td", r) for r in self.rows)]
        )
        notes = Markup("").join(Markup("<p>{}</p>").format(one) for one in self.notes)
        page = Markup("<div><p><strong>{}</strong></p><table>{}</table>{}</div>")
        return str(page.format(self.verdict, rows, notes))


class SummarizedRecord(Record):
    """A record that is shown as its summary, in a terminal and in a notebook."""

    def summary(self) -> Summary:
        """A short form of the record."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.summary().text()

    def _repr_html_(self) -> str:
        return self.summary().html()


def si(value: float, unit: str) -> str:
    """A number with three significant digits and an SI prefix."""
    if value == 0:
        return f"0 {unit}"
    prefixes = "fpnµm kMGT"
    power = min(max(math.floor(math.log10(abs(value)) / 3), -5), 4)
    scaled = float(f"{value / 1000.0**power:.3g}")
    if abs(scaled) >= 1000 and power < 4:
        power, scaled = power + 1, scaled / 1000
    return f"{scaled:g} {prefixes[power + 5].strip()}{unit}"
