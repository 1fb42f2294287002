"""Plots of rasters, membranes and training metrics."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from targets.report.model import Activity, MembraneRecord, Raster, Series
from targets.report.plots import Plot
from targets.report.svg import (
    WIDTH,
    drawing,
    element,
    line,
    path,
    plain,
    polyline,
    shortened,
    text,
)

LEFT = 40  # start of the time axis


def raster_plots(shown: Activity) -> list[Plot]:
    """One raster per layer: neurons vertically, the images' steps side by side."""
    return [raster_plot(i, one, shown) for i, one in enumerate(shown.rasters)]


def raster_plot(number: int, one: Raster, shown: Activity) -> Plot:
    """A tick for every spike of the chosen neurons."""
    row = 4 if len(one.neurons) > 12 else 8
    width = (WIDTH - LEFT) / (shown.images * shown.steps)
    tall = row * len(one.neurons)
    marks = "".join(
        f"M{plain(LEFT + (image * shown.steps + step) * width + 0.5)}"
        f" {plain(2 + (neuron + 0.5) * row)}h{plain(max(width - 1, 0.6))}"
        for image, step, neuron in one.spikes
    )
    drawn = [
        element("rect", x=LEFT, y=2, width=WIDTH - LEFT, height=tall, class_="field"),
        *image_frames(shown, 2, tall),
        element("path", d=marks, class_="spike", stroke_width=row - 1),
        text(LEFT - 6, 11, str(one.neurons[0]), "muted", "end"),
        text(LEFT - 6, tall + 1, str(one.neurons[-1]), "muted", "end"),
    ]
    counts = [0] * shown.images
    for image, _, _ in one.spikes:
        counts[image] += 1
    each = len(one.neurons) * shown.steps
    name, title = f"plot-raster-{number}", one.layer
    summary = (
        f"{len(one.spikes):,} spikes of {len(one.neurons)} of {one.of:,} neurons in"
        f" {each * shown.images:,} neuron-steps."
    )
    return Plot(
        name,
        title,
        summary,
        drawing(name, f"Spikes of {title}", summary, tall + 20, Markup("").join(drawn)),
        ("image", "predicted class", "spikes", "neuron-steps"),
        [
            (image, shown.decisions[image], counts[image], each)
            for image in range(shown.images)
        ],
    )


def image_frames(shown: Activity, top: float, tall: float) -> list[Markup]:
    """A line between images, and the number of each image below."""
    wide = (WIDTH - LEFT) / shown.images
    drawn = []
    for image in range(shown.images):
        x = LEFT + image * wide
        if image:
            drawn.append(line(x, top, x, top + tall, "frame"))
        place = x + wide / 2
        drawn.append(text(place, top + tall + 14, str(image), "muted", "middle"))
    return [*drawn, text(LEFT - 6, top + tall + 14, "image", "muted", "end")]


def membrane_plots(shown: Activity) -> list[Plot]:
    """One plot per recorded neuron; the page shows one at a time."""
    return [membrane_plot(i, one, shown) for i, one in enumerate(shown.membranes)]


def membrane_plot(number: int, one: MembraneRecord, shown: Activity) -> Plot:
    """The membrane over each image's steps, the threshold, and a mark at each spike."""
    values = [v for image in one.membrane for v in image]
    known = [0.0] if one.threshold is None else [0.0, one.threshold]
    low, high = min(values + known), max(values + known)
    tall, top = 110, 16
    width = (WIDTH - LEFT) / (shown.images * shown.steps)

    def across(image: int, step: int) -> float:
        return LEFT + (image * shown.steps + step + 0.5) * width

    def up(volts: float) -> float:
        return top + tall * (1 - (volts - low) / (high - low or 1))

    drawn = image_frames(shown, top, tall)
    for volts in dict.fromkeys([low, high]):
        drawn.append(text(LEFT - 6, up(volts) + 4, f"{volts:.3g}", "muted", "end"))
    if one.threshold is not None:
        y = up(one.threshold)
        drawn.append(line(LEFT, y, WIDTH, y, "threshold"))
        drawn += membrane_legend(one.threshold, top + tall + 32)
    for image, voltages in enumerate(one.membrane):
        points = [(across(image, t), up(v)) for t, v in enumerate(voltages)]
        drawn.append(polyline(points, "curve"))
        if width > 5:
            drawn += [
                element("circle", cx=x, cy=y, r=2.5, class_="c1") for x, y in points
            ]
        drawn += [triangle(across(image, step), 4) for step in one.spikes[image]]
    where = f"{one.layer}, neuron {one.neuron}"
    spikes = sum(map(len, one.spikes))
    name = f"plot-membrane-{number}"
    summary = (
        f"{low:.3g} to {high:.3g} V over {len(values)} steps, {spikes} spikes."
        if one.threshold is not None
        else f"{low:.3g} to {high:.3g} V over {len(values)} steps; it never spikes."
    )
    return Plot(
        name,
        where,
        summary,
        drawing(
            name,
            f"Membrane of {where}",
            summary,
            top + tall + 38,
            Markup("").join(drawn),
        ),
        ("image", "step", "membrane, V", "spike"),
        [
            (image, step, f"{volts:g}", "yes" if step in one.spikes[image] else "")
            for image, voltages in enumerate(one.membrane)
            for step, volts in enumerate(voltages)
        ],
        group=one.layer,
    )


def membrane_legend(threshold: float, y: float) -> list[Markup]:
    """The legend of a spiking neuron's plot."""
    return [
        line(LEFT, y - 4, LEFT + 18, y - 4, "threshold"),
        text(LEFT + 24, y, f"threshold {threshold:g}", "muted"),
        triangle(LEFT + 150, y - 8),
        text(LEFT + 160, y, "spike", "muted"),
    ]


def triangle(x: float, y: float) -> Markup:
    """The mark of a spike."""
    start = f"M{plain(x - 4)} {plain(y)}"
    return path(f"{start}h8l-4 7z", "spike-mark")


def training_plot(number: int, series: Series) -> Plot:
    """One training metric over the rounds, on its own scale."""
    points = [
        (x, y)
        for x, y in zip(series.rounds, series.values, strict=True)
        if y is not None
    ]
    name, title = f"plot-training-{number}", series.name.replace("_", " ")
    low, high = (f(y for _, y in points) if points else 0.0 for f in (min, max))
    first, last = (f(series.rounds) for f in (min, max))
    left, height = 46, 84

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first or 1)
        up = (y - low) / (high - low or 1)
        return left + across * (WIDTH - left - 6), 8 + (1 - up) * 60

    drawn = [
        line(left, 8, WIDTH - 6, 8, "grid"),
        line(left, 68, WIDTH - 6, 68, "grid"),
        text(left - 6, 12, f"{high:.3g}", "muted", "end"),
        text(left - 6, 72, f"{low:.3g}", "muted", "end"),
        text(left, 82, f"round {first:g}", "muted"),
        text(WIDTH - 6, 82, f"{last:g}", "muted", "end"),
        polyline([place(x, y) for x, y in points], "curve"),
    ]
    if points:
        x, y = place(*points[-1])
        drawn.append(element("circle", cx=x, cy=y, r=3.5, class_="c1"))
    end = f"{points[-1][1]:.4g}" if points else "not finite"
    summary = f"From {low:.4g} to {high:.4g}; {end} in the last round."
    lost = len(series.values) - len(points)
    return Plot(
        name,
        title,
        summary,
        drawing(name, title, summary, height, Markup("").join(drawn)),
        ("round", series.name),
        [
            (f"{x:g}", "not finite" if y is None else f"{y:.6g}")
            for x, y in zip(series.rounds, series.values, strict=True)
        ],
        note=f"{lost} values are not finite." if lost else "",
    )


def curves_plot(
    number: int, name: str, runs: Sequence[str], found: Sequence[Series | None]
) -> Plot | None:
    """One training metric of several runs over each other; None without a value."""
    points = {
        run: [
            (x, y) for x, y in zip(one.rounds, one.values, strict=True) if y is not None
        ]
        for run, one in zip(runs, found, strict=True)
        if one is not None
    }
    every = [point for row in points.values() for point in row]
    if not every:
        return None
    low, high = (f(y for _, y in every) for f in (min, max))
    first, last = (f(x for x, _ in every) for f in (min, max))
    left, base = 46, 108

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - first) / (last - first or 1), (y - low) / (high - low or 1)
        return left + across * (WIDTH - left - 6), base - up * (base - 8)

    drawn = [
        line(left, 8, WIDTH - 6, 8, "grid"),
        line(left, base, WIDTH - 6, base, "grid"),
        text(left - 6, 12, f"{high:.3g}", "muted", "end"),
        text(left - 6, base + 4, f"{low:.3g}", "muted", "end"),
        text(left, base + 16, f"round {first:g}", "muted"),
        text(WIDTH - 6, base + 16, f"{last:g}", "muted", "end"),
    ]
    for i, (run, row) in enumerate(points.items()):
        y, kind = base + 34 + 18 * i, f"curve s{i % 6 + 1}"
        drawn.append(polyline([place(*point) for point in row], kind))
        drawn.append(line(0, y - 4, 22, y - 4, kind))
        drawn.append(text(28, y, shortened(run)))
    ident, title = f"plot-curves-{number}", name.replace("_", " ")
    ends = {run: f"{row[-1][1]:.4g}" if row else "none" for run, row in points.items()}
    summary = "Last round: " + "; ".join(f"{run} {end}" for run, end in ends.items())
    height = base + 22 + 18 * len(points)
    return Plot(
        ident,
        title,
        summary,
        drawing(ident, title, summary, height, Markup("").join(drawn)),
        ("run", "last round"),
        list(ends.items()),
    )
