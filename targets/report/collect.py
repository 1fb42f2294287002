"""Collect a Report from a run directory, or from a NIR file alone.

Nothing is trained. Only the reference and the Loihi emulator run, on a few images.
`missing` lists the missing sections, with the command that creates each.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from stars.errors import ConfigError, DataError, StarsError
from stars.files.writing import sha256
from stars.graph.trace import HEALTHY_RATES
from stars.run_directory import Run
from targets.energy_model.report import EnergyReport
from targets.parity_check.report import ParityReport
from targets.report.activity import activity, sample, step_map
from targets.report.model import (
    Accuracies,
    Artifact,
    Missing,
    NetworkSummary,
    Proof,
    Provenance,
    Rate,
    Report,
    RunConditions,
    StepMap,
)
from targets.report.network import network_sections
from targets.report.read import (
    Manifest,
    read_energy,
    read_manifest,
    read_metrics,
    read_parity,
    read_picture,
)
from targets.report.sentences import counted
from targets.subject import Subject, check_there

NEAR_CHANCE = 1.5  # times 1 / classes; a lower accuracy counts as close to chance


@dataclass(frozen=True)
class Place:
    """The run or the file that a report describes."""

    path: Path
    run: Run | None

    def command(self, name: str) -> str:
        """The command line that creates a missing section."""
        return f"stars {name} {shlex.quote(str(self.path))}"


def collect(
    path: Path,
    *,
    inputs: Path | None = None,
    dt: float | str | None = None,
    steps: int | None = None,
    simulate: bool = True,
) -> Report:
    """The report on a run or on a NIR file.

    Args:
        path: a run directory, finished or not, or a NIR file.
        inputs: images for rasters and membranes; default: the run's test images.
        dt: seconds per step, if the NIR file does not state it.
        steps: T, if the NIR file does not state it.
        simulate: whether to run the reference and the emulator on a few images.

    Raises:
        DataError: the directory is not a run directory, or the inputs do not fit.
        FormatError: a file of the run is damaged.
    """
    check_there(path)
    run = Run.open(path) if path.is_dir() else None
    place = Place(path, run)
    manifest = read_manifest(run.manifest_path) if run else Manifest()
    config = run.read_config() if run else {}
    missing: list[Missing] = []
    found: dict[str, Any] = {
        "name": path.resolve().name,
        "path": str(path),
        "stars_version": version("stars-snn"),
        "accuracies": accuracies(manifest, config),
        "provenance": provenance(run, manifest, config),
    }
    found["accuracies"] = measured_on(found["provenance"], found["accuracies"])
    subject = None
    if run is None or run.graph_path.is_file():
        subject = Subject.open(path, dt=dt, steps=steps)
        found |= network_sections(subject.graph, missing)
    else:
        reason, remedy = run.no_network()
        missing.append(Missing(section="network", reason=reason, remedy=remedy))
    found |= measured_sections(place, found.get("network"), missing)
    found |= recorded_steps(found.get("parity"))
    if subject is not None and simulate:
        known = "step_map" in found
        found |= activity_sections(subject, inputs, missing, emulate=not known)
    found |= rates_of(manifest, found)
    report = Report(**found, missing=missing)
    return report.model_copy(update={"warnings": tuple(warnings_of(report))})


def accuracies(manifest: Manifest, config: Mapping[str, Any]) -> Accuracies:
    """The three accuracies that `stars distill` measured."""
    test = config.get("test_data")
    return Accuracies(
        teacher=manifest.teacher_accuracy,
        student=manifest.student_accuracy,
        grid=manifest.grid_accuracy,
        test_data=None if test in (None, "none") else str(test),
    )


def measured_on(about: Provenance, found: Accuracies) -> Accuracies:
    """The accuracies; none of the exported file if it changed after the measurement."""
    states = {one.file: one.state for one in about.artifacts}
    if states.get("artifacts/student.nir", "unchanged") == "unchanged":
        return found
    return found.model_copy(update={"grid": None})


def provenance(
    run: Run | None, manifest: Manifest, config: Mapping[str, Any]
) -> Provenance:
    """The provenance in a run's manifest and configuration."""
    data = str(config["data"]) if config.get("data") else None
    return Provenance(
        data_free=data is None if "synthesis" in config else None,
        training_data=data,
        teacher=manifest.teacher.source,
        teacher_sha256=manifest.teacher.sha256,
        command=shlex.join(manifest.command) or None,
        **manifest.model_dump(include=set(RunConditions.model_fields)),
        artifacts=[
            Artifact(
                file=name, sha256=expected, state=state_of(run.path, name, expected)
            )
            for name, expected in manifest.sha256.items()
            if run is not None
        ],
        config=json.loads(json.dumps(config, default=str)),
    )


def state_of(
    folder: Path, name: str, expected: str
) -> Literal["unchanged", "changed", "gone"]:
    """Whether a file still has the checksum in the manifest."""
    file = folder / name
    if not file.is_file():
        return "gone"
    return "unchanged" if sha256(file) == expected else "changed"


def activity_sections(
    subject: Subject, given: Path | None, missing: list[Missing], *, emulate: bool
) -> dict[str, Any]:
    """Rasters and membranes on a few images; with `emulate`, mismatches by step too."""
    try:
        inputs = sample(subject.graph, subject.inputs(given))
    except (ConfigError, DataError) as error:
        if given is not None:
            raise
        missing.append(Missing(section="activity", reason=str(error), remedy=""))
        return {}
    shown, rates = activity(subject.graph, inputs)
    found: dict[str, Any] = {"activity": shown, "sample_rates": rates}
    if not emulate:
        return found
    try:
        found["step_map"] = step_map(subject.graph, inputs)
    except StarsError as error:
        reason = f"the emulator cannot run the network: {error}"
        missing.append(Missing(section="step_map", reason=reason, remedy=""))
    return found


def measured_sections(
    place: Place, known: NetworkSummary | None, missing: list[Missing]
) -> dict[str, Any]:
    """The results of `stars parity`, `stars energy` and `stars distill` in the run."""
    if place.run is None:
        for section in ("parity", "energy"):
            reason = f"a file has no {section}.json; only a run directory does"
            missing.append(Missing(section=section, reason=reason, remedy=""))
        return {}
    folder = place.run.path
    found: dict[str, Any] = {
        "parity": read_parity(folder / "parity.json"),
        "energy": read_energy(folder / "energy.json"),
        "training": read_metrics(place.run.metrics_path),
        "synthetic": place.run.synthetic_path.is_file(),
    }
    for section in ("parity", "energy"):
        proof = proof_of(place.run, f"{section}.json", found[section], known)
        reason = f"there is no {section}.json"
        if proof is not None and proof.reason is not None:
            found[section], reason = None, proof.reason
        if section == "parity":
            found["proof"] = proof
        if found[section] is None:
            remedy = place.command(section)
            missing.append(Missing(section=section, reason=reason, remedy=remedy))
    return found


def proof_of(
    run: Run,
    name: str,
    result: ParityReport | EnergyReport | None,
    known: NetworkSummary | None,
) -> Proof | None:
    """The file of a result, with its binding to the files of the run."""
    if result is None:
        return None
    reason = None
    if isinstance(result, ParityReport) and not same_network(result, known):
        reason = f"{name} describes another network than student.nir"
    elif result.origin is not None:
        reason = result.origin.mismatch(run.path, run.graph_path)
    elif not run.graph_path.is_file():
        reason = f"'{run.graph_path}' is gone"
    state: Literal["bound", "unbound", "other files"] = "bound"
    if reason is not None:
        state = "other files"
    elif result.origin is None:
        state = "unbound"
    digest = sha256(run.path / name)
    return Proof(file=name, sha256=digest, state=state, reason=reason)


def same_network(parity: ParityReport, known: NetworkSummary | None) -> bool:
    """Whether a parity report has the layers and the steps of the exported network.

    True if the network is unknown.
    """
    if known is None:
        return True
    names = [layer.name for layer in known.layers]
    return (parity.neurons, parity.steps) == (known.neurons, known.steps) and all(
        [row.node for row in target.layers] == names for target in parity.targets
    )


def recorded_steps(parity: ParityReport | None) -> dict[str, Any]:
    """Mismatches by layer and step, summed over targets; empty if not recorded.

    If they are not recorded, the caller runs the emulator on a few images.
    """
    compared = () if parity is None else parity.compared
    columns = [[row.mismatches_by_step for row in one.layers] for one in compared]
    if parity is None or not columns or not all(map(all, columns)):
        return {}
    recorded = StepMap(
        targets=[target.name for target in compared],
        images=parity.images,
        layers=[row.node for row in compared[0].layers],
        counts=[
            [sum(at_step) for at_step in zip(*layer, strict=True)]
            for layer in zip(*columns, strict=True)
        ],
    )
    return {"step_map": recorded}


def rates_of(manifest: Manifest, found: dict[str, Any]) -> dict[str, Any]:
    """Firing rates from the source with the most images, and a name for that source."""
    sampled = found.pop("sample_rates", {})
    parity: ParityReport | None = found.get("parity")
    if parity is not None and parity.rates:
        rates, source = parity.rates, f"the reference on {counted(parity.images)}"
    elif manifest.rates:
        rates, source = (
            manifest.rates,
            "the student on synthetic images, at the end of distillation",
        )
    elif sampled:
        rates = sampled
        source = f"the reference on {counted(found['activity'].images)}"
    else:
        return {}
    low, high = HEALTHY_RATES
    rows = [
        Rate(layer=name, rate=rate, healthy=low <= rate <= high)
        for name, rate in rates.items()
    ]
    return {"rates": rows, "rates_from": source}


def warnings_of(report: Report) -> list[str]:
    """Warnings to read before the student is deployed, the worst first."""
    low, high = HEALTHY_RATES
    silent = [row.layer for row in report.rates if row.rate == 0]
    found = []
    if silent:
        found.append(
            f"Silent: {', '.join(silent)} never fired. 0 mismatches prove nothing"
            " there."
        )
    found += [
        f"Layer {row.layer} fires at {100 * row.rate:.2g} % of its steps; 0 mismatches"
        f" say little outside {100 * low:.0f} to {100 * high:.0f} %."
        for row in report.rates
        if not row.healthy and row.rate
    ]
    grid, network = report.accuracies.grid, report.network
    if grid is not None and network and grid * network.classes < NEAR_CHANCE:
        found.append(
            f"The accuracy, {100 * grid:.2f} %, is close to chance"
            f" ({100 / network.classes:.2f} % for {network.classes} classes)."
        )
    found += unproved(report)
    found += [
        f"{one.file} is {one.state} since the manifest was written."
        for one in report.provenance.artifacts
        if one.state != "unchanged"
    ]
    return found


def unproved(report: Report) -> list[str]:
    """Notes on results that name no file, and on versions other than this one."""
    results = {"parity.json": report.parity, "energy.json": report.energy}
    found = [
        f"{name} names no file: it has schema 1 of an older version and is unbound."
        for name, result in results.items()
        if result is not None and result.origin is None
    ]
    made = {"the run": report.provenance.versions.get("stars-snn")}
    for name, result in results.items():
        if result is not None and result.origin is not None:
            made[name] = result.origin.stars_version
    return found + [
        f"stars {other} made {name}; this is stars {report.stars_version}."
        for name, other in made.items()
        if other not in (None, report.stars_version)
    ]


def picture(path: Path) -> bytes | None:
    """The synthetic images of a run as a PNG; None without images or for a file.

    Raises:
        FormatError: the picture is not readable.
    """
    return read_picture(Run(path).synthetic_path) if path.is_dir() else None
