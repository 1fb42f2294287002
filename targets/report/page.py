"""report.html and compare.html, two self-contained files; see templates/."""

from __future__ import annotations

import base64
import hashlib
from importlib.metadata import version
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from targets.report.activity_plots import (
    curves_plot,
    membrane_plots,
    raster_plots,
    training_plot,
)
from targets.report.energy_plots import energy_plots
from targets.report.model import Report
from targets.report.plots import (
    Plot,
    accuracies_plot,
    accuracy_plot,
    agreement_plot,
    gauge_plots,
    network_plot,
    seconds_plot,
    step_plot,
    target_map,
)
from targets.report.sentences import (
    certificate_sentence,
    counted,
    data_sentence,
    facts,
    flat,
    lost,
    mean_rate,
    percent,
    replaced,
    verdict,
)
from targets.report.side_by_side import SideBySide

CONTENTS = (
    ("accuracy", "Accuracy and activity"),
    ("parity", "Parity"),
    ("fit", "Certificate and fit"),
    ("energy", "Energy"),
    ("activity", "Spikes and membranes"),
    ("training", "Training"),
    ("provenance", "Provenance"),
    ("glossary", "Terms"),
)
# As in docs/concepts/glossary.md; a page links to no other file.
TERMS = (
    ("certificate", "the computed proof that all targets agree for T steps"),
    ("chip", "a set of hardware limits"),
    ("cost table", "published energies per operation"),
    ("firing rate", "spikes per neuron and step"),
    ("grid", "weights, biases and thresholds are integers times powers of two"),
    ("membrane", "the state of a neuron, compared with its threshold at every step"),
    ("neuron-step", "one neuron at one time step of one image"),
    ("reference", "the float64 program that defines what a network computes"),
    ("target", "a simulator or compiled program that runs a network"),
    ("T", "the number of time steps per image"),
)


def report_html(report: Report, picture: bytes | None) -> str:
    """The page about one run.

    Args:
        report: its content.
        picture: the synthetic images as PNG.
    """
    plots = plots_of(report)
    groups = groupby(plots["membranes"], key=lambda plot: plot.group)
    layers = () if report.network is None else report.network.layers
    return render(
        "report.html",
        report=report,
        plots=plots,
        verdict=verdict(report),
        data_sentence=data_sentence(report),
        certificate_sentence=certificate_sentence(report),
        lost=lost(report),
        replaced=replaced(report),
        terms=TERMS,
        mean_rate=mean_rate(report),
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


def comparison_html(found: SideBySide) -> str:
    """The page about several runs."""
    plots = [
        plot
        for plot in (
            accuracies_plot(found.runs, found.accuracies),
            seconds_plot(found.runs, found.seconds),
        )
        if plot is not None
    ]
    training = [
        curves_plot(i, name, found.runs, series)
        for i, (name, series) in enumerate(found.curves.items())
    ]
    drawn = [plot for plot in training if plot is not None]
    return render("compare.html", found=found, plots=plots, curves=drawn)


def render(template: str, **values: Any) -> str:
    """A page from a template, with style and script inline."""
    pages = Environment(
        loader=PackageLoader("targets.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("targets.report") / "templates"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = (folder / "script.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    return pages.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        version=version("stars-snn"),
        percent=percent,
        counted=counted,
        **values,
    )


def plots_of(report: Report) -> dict[str, list[Plot]]:
    """All plots of a page, by section."""
    found: dict[str, list[Plot]] = {
        "accuracy": [],
        "parity": [],
        "gauges": gauge_plots(report.gauges),
        "energy": energy_plots(report.energy) if report.energy else [],
        "rasters": raster_plots(report.activity) if report.activity else [],
        "membranes": membrane_plots(report.activity) if report.activity else [],
        "training": [
            training_plot(i, one)
            for i, one in enumerate(report.training)
            if one.name != "seconds"
        ],
    }
    accuracy = accuracy_plot(report.accuracies)
    if accuracy is not None:
        found["accuracy"].append(accuracy)
    if report.network is not None:
        found["accuracy"].append(network_plot(report.network, report.rates))
    if report.energy is not None:
        agreement = agreement_plot(report.energy)
        found["accuracy"] += [] if agreement is None else [agreement]
    if report.parity is not None and report.parity.compared:
        found["parity"].append(target_map(report.parity))
    if report.step_map is not None:
        found["parity"].append(step_plot(report.step_map))
    return found
