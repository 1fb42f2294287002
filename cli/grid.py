"""Grid: a table that never cuts a number, whatever the width of the terminal.

Where a table is too wide, each of its rows becomes a few lines of "name value" pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LONGEST_NAME = 28  # of a first column; longer names are folded, not cut
LEAST_TEXT = 20  # columns that a text of several words needs
GAP = "   "


@dataclass(frozen=True)
class Grid:
    """Rows of cells under a head; the first column holds names.

    Args:
        head: titles of the columns.
        rows: cells as plain text.
        title: above the table.
        texts: indices of columns of prose, which may be wrapped; all others are not.
        rules: indices of rows with a line above them.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    texts: Sequence[int] = ()
    rules: Sequence[int] = ()

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """The table if it fits, else the rows one below the other."""
        widths = self.widths(options.max_width)
        if widths is None:
            yield Text("\n".join(self.blocks(options.max_width)))
        else:
            yield self.table(widths)

    def widths(self, most: int) -> list[int] | None:
        """The width of each column; None if a number would have to be cut.

        Prose gets what is left, a column at a time, those with little of it first.
        """
        columns = list(zip(self.head, *self.rows, strict=True))
        longest = [
            max(len(line) for cell in column for line in cell.split("\n"))
            for column in columns
        ]
        limits = dict.fromkeys(self.texts, LEAST_TEXT) | {0: LONGEST_NAME}
        found = [min(n, limits.get(i, n)) for i, n in enumerate(longest)]
        left = most - sum(found) - 3 * len(found) - 1
        if left < 0:
            return None
        order = sorted(limits, key=lambda i: longest[i])
        for place, i in enumerate(order):
            more = min(longest[i] - found[i], left // (len(order) - place))
            found[i] += more
            left -= more
        return found

    def table(self, widths: Sequence[int]) -> Table:
        """The rows as a table; numbers are aligned right."""
        found = Table(title=Text(self.title) if self.title else None)
        for i, name in enumerate(self.head):
            prose = i in self.texts or i == 0
            found.add_column(
                Text(name),
                justify="left" if prose else "right",
                no_wrap=not prose,
                overflow="fold",
                width=widths[i],
            )
        for i, row in enumerate(self.rows):
            if i in self.rules:
                found.add_section()
            found.add_row(*map(Text, row))
        return found

    def blocks(self, width: int) -> Iterator[str]:
        """The lines of the rows below each other, each at most `width` long."""
        if self.title:
            yield self.title
        for name, *cells in self.rows:
            yield name or "-"
            line = ""
            for title, cell in zip(self.head[1:], cells, strict=True):
                pair = " ".join(f"{title} {cell}".split()) if cell else ""
                if line and pair and len(line) + len(GAP) + len(pair) > width:
                    yield line
                    line = ""
                line += f"{GAP if line else '  '}{pair}" if pair else ""
            if line:
                yield line
