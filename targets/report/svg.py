"""Pure functions that draw SVG: elements, text, bars and axes.

A drawing is 320 units wide, so a phone shows it at full size and its text is readable.
Colors are classes, which the page's style sheet defines for light, dark and print.
Every function escapes its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from targets.summary import si

WIDTH = 320
ROW = 34  # height of a row with its label above its bar
BAR = 10
LABEL = 40  # characters of a label above a bar
SHADES = 5  # of the classes heat-1 to heat-5


def element(name: str, *children: str, **attributes: object) -> Markup:
    """One element; `class_` is class, an underscore in a name is a hyphen."""
    text = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), plain(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), text, inside)


def plain(value: object) -> str:
    """An attribute's text; a float has at most two decimals."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def drawing(name: str, title: str, summary: str, height: float, body: str) -> Markup:
    """A whole drawing, with a title and a description for screen readers.

    Args:
        name: id of the drawing, unique on the page.
        title: the subject of the drawing.
        summary: the content of the drawing.
        height: units.
        body: its elements.
    """
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(summary), id=f"{name}-desc"),
        body,
        id=name,
        role="img",
        viewBox=f"0 0 {WIDTH} {plain(float(height))}",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def text(
    x: float, y: float, content: str, kind: str = "label", anchor: str = "start"
) -> Markup:
    """Text; `kind` is label, value, muted or inside."""
    return element("text", escape(content), x=x, y=y, class_=kind, text_anchor=anchor)


def rect(
    x: float, y: float, width: float, height: float, kind: str, tip: str = ""
) -> Markup:
    """A rectangle with a tooltip."""
    return element(
        "rect",
        *([element("title", escape(tip))] if tip else []),
        x=float(x),
        y=float(y),
        width=float(max(width, 0)),
        height=float(height),
        class_=kind,
    )


def path(steps: str, kind: str) -> Markup:
    """A path."""
    return element("path", d=steps, class_=kind)


def polyline(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    places = " ".join(f"{plain(float(x))},{plain(float(y))}" for x, y in points)
    return element("polyline", points=places, class_=kind)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    start, end = (float(x1), float(y1)), (float(x2), float(y2))
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=kind)


def shortened(content: str, most: int = LABEL) -> str:
    """A label of at most `most` characters, shortened in the middle."""
    if len(content) <= most:
        return content
    head = (most - 1) // 2
    return f"{content[:head]}…{content[len(content) - (most - 1 - head) :]}"


def labeled_row(y: float, label: str, value: str, bar: str) -> Markup:
    """A label and a value above a bar, which the caller draws at y + 17."""
    most = LABEL - len(value)
    return element(
        "g",
        element("title", escape(f"{label}: {value}")),
        text(0, y + 11, shortened(label, max(most, 12))),
        text(WIDTH, y + 11, value, "value", "end"),
        bar,
    )


def bar_rows(
    rows: Sequence[tuple[str, str, float, str]], marks: Sequence[float] = ()
) -> tuple[Markup, float]:
    """(horizontal bars on tracks, one below the other; their height).

    Args:
        rows: label, value as text, share of the track, class of the bar.
        marks: shares at which every track has a tick.
    """
    drawn = []
    for i, (label, value, share, kind) in enumerate(rows):
        y = i * ROW
        bar = Markup("").join(
            [
                rect(0, y + 17, WIDTH, BAR, "track"),
                rect(0, y + 17, WIDTH * min(share, 1.0), BAR, kind),
                *(
                    line(WIDTH * m, y + 15, WIDTH * m, y + 19 + BAR, "mark")
                    for m in marks
                ),
            ]
        )
        drawn.append(labeled_row(y, label, value, bar))
    return Markup("").join(drawn), len(rows) * ROW


def stacked_rows(
    rows: Sequence[tuple[str, str, Sequence[tuple[str, float, str]]]], full: float = 0.0
) -> tuple[Markup, float]:
    """(stacked horizontal bars; their height).

    Args:
        rows: label, value as text, parts as (name, size, class).
        full: size that fills a track; by default every row fills its track.
    """
    drawn = []
    for i, (label, value, parts) in enumerate(rows):
        y = i * ROW
        whole = full or sum(size for _, size, _ in parts) or 1.0
        x, pieces = 0.0, [rect(0, y + 17, WIDTH, BAR, "track")]
        for name, size, kind in parts:
            width = WIDTH * size / whole
            tip = f"{name}: {100 * size / whole:.3g} %"
            pieces.append(rect(x, y + 17, max(width - 0.75, 0), BAR, kind, tip))
            x += width
        drawn.append(labeled_row(y, label, value, Markup("").join(pieces)))
    return Markup("").join(drawn), len(rows) * ROW


def legend(entries: Sequence[tuple[str, str]], y: float) -> tuple[Markup, float]:
    """(name and swatch of each class, one per line; their height)."""
    drawn = []
    for i, (name, kind) in enumerate(entries):
        top = y + i * 18
        drawn += [rect(0, top + 2, 10, 10, kind), text(16, top + 11, name)]
    return Markup("").join(drawn), 18 * len(entries)


def decades(low: float, high: float) -> range:
    """Exponents of ten that enclose two positive numbers."""
    return range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)


def compact(value: float) -> str:
    """A count in at most four characters."""
    if value < 1000:
        return f"{value:g}"
    return si(float(f"{value:.2g}"), "").replace(" ", "")
