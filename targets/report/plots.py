"""Plot: a drawing with its title, a summary, and its numbers as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from stars.graph.trace import HEALTHY_RATES
from targets.energy_model.report import EnergyReport
from targets.parity_check.report import ParityReport
from targets.report.model import Accuracies, Gauge, NetworkSummary, Rate, StepMap
from targets.report.sentences import counted, percent
from targets.report.svg import (
    SHADES,
    WIDTH,
    bar_rows,
    compact,
    drawing,
    labeled_row,
    line,
    rect,
    shortened,
    text,
)

MOST_CLASSES = 30
LISTED = 40  # indices of images in a note
CELLS_WITH_TEXT = 12  # columns; with more, cells have no numbers
LETTER = 6.5  # pixels, the largest width in a column's head


@dataclass(frozen=True)
class Plot:
    """One drawing with its title, summary and table.

    Args:
        name: id of the drawing.
        title: the subject of the drawing.
        summary: the content of the drawing in one sentence.
        svg: the drawing.
        head, rows: the same content as a table.
        group: key by which a page groups plots, such as the layer.
        note: a note below the drawing.
    """

    name: str
    title: str
    summary: str
    svg: Markup
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    group: str = ""
    note: str = ""


def accuracy_plot(found: Accuracies) -> Plot | None:
    """Bars of the measured accuracies; None if there are none."""
    names = {
        "teacher": "teacher (ANN)",
        "student": "student before the grid",
        "grid": "student on the grid, as exported",
    }
    values = {
        label: value
        for key, label in names.items()
        if (value := getattr(found, key)) is not None
    }
    if not values:
        return None
    kinds = {names["teacher"]: "c-muted", names["student"]: "c2", names["grid"]: "c1"}
    body, height = bar_rows(
        [(n, percent(v), v, kinds[n]) for n, v in values.items()],
        marks=[0.25, 0.5, 0.75],
    )
    title = "Accuracy on real test images"
    summary = "; ".join(f"{name} {percent(value)}" for name, value in values.items())
    return Plot(
        "plot-accuracy",
        title,
        summary,
        drawing("plot-accuracy", title, summary, height, body),
        ("network", "accuracy"),
        [(name, percent(value)) for name, value in values.items()],
        note="Ticks at 25, 50 and 75 %.",
    )


def accuracies_plot(runs: Sequence[str], values: Sequence[float | None]) -> Plot | None:
    """A bar for the accuracy of each exported network; None if there are none."""
    return run_bars(
        "plot-accuracies",
        "Accuracy of the exported network",
        [
            (r, percent(v), v)
            for r, v in zip(runs, values, strict=True)
            if v is not None
        ],
    )


def seconds_plot(runs: Sequence[str], values: Sequence[float | None]) -> Plot | None:
    """A bar for the time of each distillation; None if there are none."""
    most = max((value for value in values if value), default=0.0) or 1.0
    return run_bars(
        "plot-seconds",
        "Seconds of distillation",
        [
            (run, f"{value:,.0f} s", value / most)
            for run, value in zip(runs, values, strict=True)
            if value is not None
        ],
    )


def run_bars(
    name: str, title: str, rows: Sequence[tuple[str, str, float]]
) -> Plot | None:
    """One bar per run; None if there are none."""
    if not rows:
        return None
    body, height = bar_rows([(*row, "c1") for row in rows])
    summary = "; ".join(f"{run}: {value}" for run, value, _ in rows)
    return Plot(
        name,
        title,
        summary,
        drawing(name, title, summary, height, body),
        ("run", title),
        [(run, value) for run, value, _ in rows],
    )


def network_plot(network: NetworkSummary, rates: Sequence[Rate]) -> Plot:
    """The layers as boxes, the first on top, each as wide as it has neurons."""
    known = {row.layer: row for row in rates}
    most = max((layer.neurons for layer in network.layers), default=1)
    drawn, cell = [], 42
    for i, layer in enumerate(network.layers):
        y, rate = i * cell, known.get(layer.name)
        wide = 60 + (WIDTH - 60) * layer.neurons / most
        kind = "c-bad" if rate is not None and not rate.healthy else "c1"
        tip = f"{layer.name}: {layer.kind}, {layer.neurons:,} neurons"
        shape = " x ".join(map(str, layer.shape))
        value = shape if rate is None else f"{shape}, {100 * rate.rate:.3g} %"
        if rate is not None and not rate.healthy:
            value += " outside"
        bar = rect((WIDTH - wide) / 2, y + 17, wide, 14, "track", tip)
        if rate is not None:
            share = max(rate.rate, 0.004)
            bar += rect((WIDTH - wide) / 2, y + 17, wide * share, 14, kind)
        if i + 1 < len(network.layers):
            bar += line(WIDTH / 2, y + 31, WIDTH / 2, y + cell + 2, "grid")
        drawn.append(labeled_row(y, layer.name, value, bar))
    title = "The network: layers, shapes and firing rates"
    outside = [row.layer for row in rates if not row.healthy]
    low, high = (f"{100 * rate:.0f}" for rate in HEALTHY_RATES)
    summary = f"{len(network.layers)} layers, {network.neurons:,} neurons; " + (
        f"rates outside {low} to {high} %: {', '.join(outside)}."
        if outside
        else f"every rate is between {low} and {high} %."
    )
    rows = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            f"{layer.neurons:,}",
            percent(known[layer.name].rate) if layer.name in known else "no spikes",
        )
        for layer in network.layers
    ]
    height = cell * len(network.layers)
    return Plot(
        "plot-rates",
        title,
        summary,
        drawing("plot-rates", title, summary, height, Markup("").join(drawn)),
        ("layer", "kind", "shape", "neurons", "firing rate"),
        rows,
        note="A box is as wide as its layer has neurons; its filled part is the rate.",
    )


def gauge_plots(gauges: Sequence[Gauge]) -> list[Plot]:
    """One plot of bars for each group of gauges."""
    groups = list(dict.fromkeys(gauge.group for gauge in gauges))
    return [
        gauge_plot(i, group, [g for g in gauges if g.group == group])
        for i, group in enumerate(groups)
    ]


def gauge_plot(number: int, group: str, gauges: Sequence[Gauge]) -> Plot:
    """Bars from 0 to the limit; a value over the limit is marked."""
    rows = []
    for g in gauges:
        over = "" if g.fits else "over"
        value = " ".join(filter(None, (f"{g.used:g} of {g.limit:g}", g.unit, over)))
        share = g.used / g.limit if g.limit else 1.0
        rows.append((g.resource, value, share, "c3" if g.fits else "c-bad"))
    body, height = bar_rows(rows)
    over_all = [g.resource for g in gauges if not g.fits]
    name, title = f"plot-gauge-{number}", group[:1].upper() + group[1:]
    summary = (
        f"Over the limit: {', '.join(over_all)}."
        if over_all
        else "All values are within their limits."
    )
    sources = list(dict.fromkeys(gauge.source for gauge in gauges))
    return Plot(
        name,
        title,
        summary,
        drawing(name, title, summary, height, body),
        ("resource", "used", "limit", "unit", "source"),
        [(g.resource, f"{g.used:g}", f"{g.limit:g}", g.unit, g.source) for g in gauges],
        note=f"Source: {'; '.join(sources)}.",
    )


def target_map(parity: ParityReport) -> Plot:
    """Mismatches of every layer on every target that was compared."""
    targets = parity.compared
    layers = list(dict.fromkeys(row.node for t in targets for row in t.layers))
    counts = [
        [next((r.mismatches for r in t.layers if r.node == name), 0) for t in targets]
        for name in layers
    ]
    return heat_map(
        "plot-targets",
        "Mismatches by layer and target",
        layers,
        [target.name for target in targets],
        counts,
        "Spikes and membranes that differ, over all images.",
    )


def agreement_plot(energy: EnergyReport) -> Plot | None:
    """How often each class of the teacher became each class of this network.

    None without the decisions of both, or for more classes than a page can show. Images
    are named by their index alone, because a page must not contain test images.
    """
    pairs = list(zip(energy.teacher.decisions, energy.decisions, strict=False))
    if not pairs or len(energy.teacher.decisions) != len(energy.decisions):
        return None
    if min(map(min, pairs)) < 0 or max(map(max, pairs)) >= MOST_CLASSES:
        return None
    classes = range(max(map(max, pairs)) + 1)
    found = Counter(pairs)
    differ = [i for i, (teacher, own) in enumerate(pairs) if teacher != own]
    plot = heat_map(
        "plot-agreement",
        "Classes of the teacher and of this network",
        [f"teacher {c}" for c in classes],
        [str(c) for c in classes],
        [[found[row, column] for column in classes] for row in classes],
        f"Columns: the class by this network. Of {counted(len(pairs))}, they disagree"
        f" on {len(differ):,}"
        + (f": number {', '.join(map(str, differ[:LISTED]))}" if differ else "")
        + (", ..." if len(differ) > LISTED else "")
        + ".",
        unit="images",
    )
    summary = f"The two agree on {len(pairs) - len(differ):,} of {len(pairs):,} images."
    return replace(plot, summary=summary)


def step_plot(found: StepMap) -> Plot:
    """Mismatches of every layer at every step."""
    return heat_map(
        "plot-steps",
        "Mismatches by layer and step",
        found.layers,
        [f"step {step}" for step in range(len(found.counts[0]))],
        found.counts,
        f"{' + '.join(found.targets)}, on up to {counted(found.images)}.",
    )


def heat_map(
    name: str,
    title: str,
    layers: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    note: str,
    unit: str = "differ",
) -> Plot:
    """A table of shaded cells; cells show their count if there are few columns."""
    longest = max(map(len, layers), default=0)
    left = min(max(longest * LETTER + 8, 60), 92 if len(columns) > 6 else 160)
    top, cell = 22, 24
    width = (WIDTH - left) / max(len(columns), 1)
    most = max((max(row, default=0) for row in counts), default=0)
    every = 1 if len(columns) <= CELLS_WITH_TEXT else 10
    room = int(every * width / LETTER)
    drawn = [
        text(left + (i + 0.5) * width, 14, shortened(label, room), "muted", "middle")
        for i, label in enumerate(columns)
        if i % every == 0
    ]
    for r, (layer, row) in enumerate(zip(layers, counts, strict=True)):
        y = top + r * cell
        drawn.append(text(0, y + 16, shortened(layer, int(left / LETTER))))
        for c, count in enumerate(row):
            x = left + c * width
            tip = f"{layer}, {columns[c]}: {count:,} {unit}"
            kind = f"heat-{shade(count, most)}"
            drawn.append(rect(x + 0.75, y + 0.75, width - 1.5, cell - 1.5, kind, tip))
            if len(columns) <= CELLS_WITH_TEXT:
                inside = f"on-{kind}"
                place = x + width / 2
                drawn.append(text(place, y + 16, compact(count), inside, "middle"))
    total = sum(map(sum, counts))
    summary = (
        f"{total:,} mismatches in {len(layers)} layers."
        if total
        else f"Every cell is 0: {len(layers)} layers, {len(columns)} columns."
    )
    height = top + len(layers) * cell
    return Plot(
        name,
        title,
        summary,
        drawing(name, title, summary, height, Markup("").join(drawn)),
        ("layer", *columns),
        [
            (layer, *(f"{n:,}" for n in row))
            for layer, row in zip(layers, counts, strict=True)
        ],
        note=note,
    )


def shade(count: int, most: int) -> int:
    """The shade of a count: 0 for 0, else 1 to 5 by order of magnitude."""
    if count == 0:
        return 0
    return 1 + round((SHADES - 1) * len(str(count)) / len(str(most)))
