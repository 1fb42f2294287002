"""Energy plots: totals by cost table, parts of the totals, and each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from targets.energy_model.estimate import EnergyEstimate
from targets.energy_model.report import EnergyReport
from targets.report.plots import Plot
from targets.report.svg import (
    WIDTH,
    decades,
    drawing,
    element,
    labeled_row,
    legend,
    line,
    stacked_rows,
    text,
)
from targets.summary import si

PART_NAMES = {
    "ac": "spikes through synapses",
    "mac": "image into the first layer",
    "updates": "neuron updates",
    "spikes": "sending spikes",
}
PART_CLASSES = ("c1", "p2", "p3", "p4", "c5", "c6", "c7")  # p: with a pattern
DOT_CLASSES = ("c1", "c2", "c3", "c4", "c6", "c7")
ROW_OF_DOTS = 38


def energy_plots(energy: EnergyReport) -> list[Plot]:
    """Joules by cost table, their parts, and one plot of layers per table."""
    if not energy.estimates:
        return []
    parts = dict.fromkeys(p for e in energy.estimates for p in e.parts())
    kinds = {part: PART_CLASSES[i % len(PART_CLASSES)] for i, part in enumerate(parts)}
    images = energy.counts.images
    by_layer = [
        layers_plot(i, one, images, kinds) for i, one in enumerate(energy.estimates)
    ]
    return [totals_plot(energy), shares_plot(energy, kinds), *by_layer]


def totals_plot(energy: EnergyReport) -> Plot:
    """A dot for each network under each cost table, on a logarithmic scale."""
    rows = [
        (one, {"this network": one.joules_per_image, **one.others})
        for one in energy.estimates
    ]
    names = list(dict.fromkeys(name for _, values in rows for name in values))
    values = [v for _, found in rows for v in found.values() if v > 0]
    ticks = decades(min(values), max(values)) if values else range(-9, -6)
    drawn, height = [], len(rows) * ROW_OF_DOTS

    def place(joules: float) -> float:
        return 12 + (WIDTH - 24) * position(joules, ticks)

    for tick in ticks:
        x = place(10.0**tick)
        drawn += [
            line(x, 4, x, height + 4, "grid"),
            text(x, height + 18, si(10.0**tick, "J"), "muted", "middle"),
        ]
    for i, (one, found) in enumerate(rows):
        y = i * ROW_OF_DOTS
        drawn.append(
            labeled_row(y, one.table.title, si(one.joules_per_image, "J"), Markup(""))
        )
        for name, joules in found.items():
            if joules > 0:
                tip = f"{name}: {si(joules, 'J')} per image"
                drawn.append(dot(place(joules), y + 26, names.index(name), tip))
    entries, used = dot_legend([others_name(name) for name in names], height + 26)
    title = "Energy per image under each cost table"
    summary = "; ".join(
        f"{e.table.title}: {si(e.joules_per_image, 'J')}" for e in energy.estimates
    )
    return Plot(
        "plot-energy",
        title,
        summary,
        drawing(
            "plot-energy",
            title,
            summary,
            height + 26 + used,
            Markup("").join([*drawn, entries]),
        ),
        ("cost table", *(others_name(name) for name in names)),
        [
            (
                one.table.title,
                *(si(v[n], "J") if n in v else "not priced" for n in names),
            )
            for one, v in rows
        ],
        note="A table prices one process node; compare networks only within a row.",
    )


def others_name(name: str) -> str:
    """The name of another network on the page."""
    if name in ("this network", "teacher", "teacher_zero_skipping"):
        return name.replace("_", ", ", 1).replace("zero_skipping", "zeros skipped")
    return f"{name.replace('_', ' ').upper()} of the same topology"


def position(value: float, ticks: range) -> float:
    """Position of a value on a logarithmic axis, from 0 to 1."""
    return (math.log10(value) - ticks[0]) / max(ticks[-1] - ticks[0], 1)


def dot(x: float, y: float, number: int, tip: str = "") -> Markup:
    """A mark whose shape and color both identify the network."""
    kind = DOT_CLASSES[number % len(DOT_CLASSES)]
    inside = element("title", escape(tip))
    if number == 0:
        return element("circle", inside, cx=float(x), cy=float(y), r=6, class_=kind)
    turned = f"rotate({45 if number % 2 else 0} {x:.2f} {y:.2f})"
    return element(
        "rect",
        inside,
        x=float(x - 5),
        y=float(y - 5),
        width=10,
        height=10,
        transform=turned,
        class_=kind,
    )


def dot_legend(names: Sequence[str], y: float) -> tuple[Markup, float]:
    """(mark and name of each network, one per line; their height)."""
    drawn = []
    for i, name in enumerate(names):
        drawn += [dot(8, y + 9 + 20 * i, i), text(22, y + 13 + 20 * i, name)]
    return Markup("").join(drawn), 20 * len(names)


def shares_plot(energy: EnergyReport, kinds: dict[str, str]) -> Plot:
    """For each cost table, the parts of the joules."""
    rows = [
        (e.table.title, si(e.joules_per_image, "J"), stack(e.parts(), kinds))
        for e in energy.estimates
    ]
    body, height = stacked_rows(rows)
    entries, used = legend(
        [(PART_NAMES.get(part, part), kind) for part, kind in kinds.items()],
        height + 2,
    )
    title, images = "Parts of the energy", energy.counts.images
    summary = "; ".join(
        f"{e.table.title}: mostly {PART_NAMES.get(p := largest(e.parts()), p)}"
        for e in energy.estimates
    )
    return Plot(
        "plot-shares",
        title,
        summary,
        drawing("plot-shares", title, summary, height + 2 + used, body + entries),
        ("cost table", *(PART_NAMES.get(part, part) for part in kinds)),
        [
            (
                e.table.title,
                *(si(e.parts().get(part, 0.0) / images, "J") for part in kinds),
            )
            for e in energy.estimates
        ],
    )


def largest(parts: dict[str, float]) -> str:
    """The part with the most joules."""
    return max(parts, key=lambda name: parts[name], default="nothing")


def stack(
    parts: dict[str, float], kinds: dict[str, str]
) -> list[tuple[str, float, str]]:
    """(name, joules, class) of each part."""
    return [
        (PART_NAMES.get(part, part), parts.get(part, 0.0), kind)
        for part, kind in kinds.items()
    ]


def layers_plot(
    number: int, one: EnergyEstimate, images: int, kinds: dict[str, str]
) -> Plot:
    """Joules of every layer under one cost table."""
    layers = {
        layer.name: {part: joules / images for part, joules in layer.parts().items()}
        for layer in one.layers
    }
    totals = {name: sum(parts.values()) for name, parts in layers.items()}
    body, height = stacked_rows(
        [
            (name, si(totals[name], "J"), stack(parts, kinds))
            for name, parts in layers.items()
        ],
        full=max(totals.values(), default=0.0),
    )
    name, title = f"plot-layers-{number}", f"Energy of each layer: {one.table.title}"
    most = largest(totals)
    summary = f"Largest: {most}, {si(totals.get(most, 0.0), 'J')} per image."
    return Plot(
        name,
        title,
        summary,
        drawing(name, title, summary, height, body),
        ("layer", *(PART_NAMES.get(part, part) for part in kinds), "sum"),
        [
            (
                layer,
                *(si(parts.get(part, 0.0), "J") for part in kinds),
                si(totals[layer], "J"),
            )
            for layer, parts in layers.items()
        ],
        group="layers",
    )
