"""report.html: one self-contained file from a Report. Templates are in templates/."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from targets.report.activity_plots import membrane_plots, raster_plots, training_plot
from targets.report.energy_plots import energy_plots
from targets.report.model import Report
from targets.report.plots import (
    Plot,
    accuracy_plot,
    gauge_plots,
    percent,
    rates_plot,
    step_plot,
    target_map,
)
from targets.report.words import (
    certificate_sentence,
    data_sentence,
    energy_range,
    verdict,
)

CONTENTS = (
    ("accuracy", "Accuracy and activity"),
    ("parity", "Parity"),
    ("fit", "Certificate and fit"),
    ("energy", "Energy"),
    ("activity", "Spikes and membranes"),
    ("training", "Training"),
    ("provenance", "Where it comes from"),
)


def html(report: Report, picture: bytes | None) -> str:
    """The page about one run.

    Args:
        report: what it says.
        picture: the synthetic images as PNG.
    """
    plots = plots_of(report)
    groups = groupby(plots["membranes"], key=lambda plot: plot.group)
    rates = [row.rate for row in report.rates]
    layers = () if report.network is None else report.network.layers
    return render(
        "report.html",
        report=report,
        plots=plots,
        verdict=verdict(report),
        data_sentence=data_sentence(report),
        certificate_sentence=certificate_sentence(report),
        energy_range=energy_range(report),
        mean_rate=sum(rates) / len(rates) if rates else 0.0,
        contents=CONTENTS,
        membrane_groups=[(name, list(group)) for name, group in groups],
        picture=None if picture is None else base64.b64encode(picture).decode(),
        facts=facts(report),
        layer_rows=[
            (one.name, one.kind, " x ".join(map(str, one.shape)), f"{one.neurons:,}")
            for one in layers
        ],
        settings=list(flat(report.provenance.config)),
    )


def render(template: str, **values: Any) -> str:
    """A page in the common frame: style, script, and nothing from elsewhere."""
    pages = Environment(
        loader=PackageLoader("targets.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    load = pages.loader
    assert load is not None
    style = load.get_source(pages, "style.css")[0]
    script = load.get_source(pages, "script.js")[0]
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    return pages.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        version=version("stars-snn"),
        percent=percent,
        **values,
    )


def plots_of(report: Report) -> dict[str, list[Plot]]:
    """All drawings of a page, by section."""
    found: dict[str, list[Plot]] = {
        "accuracy": [],
        "parity": [],
        "gauges": gauge_plots(report.gauges),
        "energy": energy_plots(report.energy) if report.energy else [],
        "rasters": raster_plots(report.activity) if report.activity else [],
        "membranes": membrane_plots(report.activity) if report.activity else [],
        "training": [training_plot(i, one) for i, one in enumerate(report.training)],
    }
    accuracy = accuracy_plot(report.accuracies)
    if accuracy is not None:
        found["accuracy"].append(accuracy)
    if report.rates:
        found["accuracy"].append(rates_plot(report.rates))
    if report.parity is not None and report.parity.compared:
        found["parity"].append(target_map(report.parity))
    if report.step_map is not None:
        found["parity"].append(step_plot(report.step_map))
    return found


def facts(report: Report) -> list[tuple[str, str]]:
    """Names and values of the provenance that are known."""
    about = report.provenance
    versions = ", ".join(f"{n} {v}" for n, v in about.versions.items() if v)
    known = {
        "run": report.path,
        "command": about.command,
        "teacher": about.teacher,
        "teacher SHA-256": about.teacher_sha256,
        "training data": data_sentence(report),
        "test images": report.accuracies.test_data,
        "seed": about.seed,
        "distilled in": None if about.seconds is None else f"{about.seconds:,.0f} s",
        "versions": versions or None,
        "Python": about.python,
        "machine": about.machine,
        "commit": about.git_commit,
    }
    return [(name, str(value)) for name, value in known.items() if value is not None]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as JSON) of nested settings, in order."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str, ensure_ascii=False)
