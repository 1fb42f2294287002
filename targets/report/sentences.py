"""The sentences of a page: verdict, energy range, certificate and provenance."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from targets.parity_check.report import ParityReport
from targets.report.model import Report


@dataclass(frozen=True)
class Verdict:
    """The result of a report in one headline.

    Args:
        state: exact, failed, or unknown if nothing was compared.
        sentence: the headline.
        detail: the facts behind it.
    """

    state: Literal["exact", "failed", "unknown"]
    sentence: str
    detail: str


def verdict(report: Report) -> Verdict:
    """Whether every target equals the reference."""
    parity, proof = report.parity, report.proof
    command = f"run `stars parity {shlex.quote(report.path)}`"
    if proof is not None and proof.reason is not None:
        reason = f"{proof.file} proves nothing here: {proof.reason}."
        return Verdict("unknown", f"Not proved for this file: {command}", reason)
    if parity is None or not parity.compared:
        return Verdict(
            "unknown",
            "Not compared yet",
            "No target has been compared with the reference.",
        )
    found = result(report, parity)
    if proof is not None and proof.state == "unbound":
        said = f"It says of an unnamed file: {found.sentence}."
        sentence = f"Not bound to this file: {command}"
        return Verdict("unknown", sentence, f"{proof.file} names no file. {said}")
    return found


def result(report: Report, parity: ParityReport) -> Verdict:
    """The verdict of a comparison, whatever file it ran."""
    failed = [target for target in parity.compared if not target.ok]
    if failed:
        return failure(parity)
    steps = sum(target.neuron_steps for target in parity.compared)
    if report.rates and not any(row.rate for row in report.rates):
        return Verdict(
            "unknown",
            "Silent: no neuron ever fires",
            f"0 of {steps:,} neuron-steps differ, which proves nothing.",
        )
    count = len(parity.compared)
    against = (
        "" if parity.against == "reference" else f" compared with {parity.against}"
    )
    membranes = sum(target.membrane_steps for target in parity.compared)
    return Verdict(
        "exact",
        f"Exact on {count} target{'' if count == 1 else 's'}: 0 of {steps:,}"
        " neuron-steps differ",
        f"Every spike and all {membranes:,} recorded membranes are equal on"
        f" {listed([t.name for t in parity.compared])}{against}, without tolerance.",
    )


def failure(parity: ParityReport) -> Verdict:
    """The verdict that names the targets that differ, and the first divergence."""
    failed = [target for target in parity.compared if not target.ok]
    first = failed[0]
    place = first.first_divergence
    where = "" if place is None else f": first divergence at {place}, on {first.name}"
    wrong = sum(run.mismatches for target in failed for run in target.runs)
    fine = [target.name for target in parity.compared if target.ok]
    purpose = [target.name for target in failed if target.substituted]
    detail = [
        f"{wrong:,} spikes and membranes differ on"
        f" {listed([target.name for target in failed])}."
    ]
    if fine:
        detail.append(f"Exact on {listed(fine)}.")
    if purpose:
        detail.append(
            f"On purpose: {listed(purpose)} ran another network (--substitute)."
        )
    return Verdict("failed", f"Not exact{where}", " ".join(detail))


@dataclass(frozen=True)
class Replaced:
    """Whether the SNN needs less energy than the network that it replaces.

    Args:
        answer: yes, no, or under how many cost tables.
        detail: against which network, and by what factor.
    """

    answer: str
    detail: str


def replaced(report: Report) -> Replaced | None:
    """The energy against the teacher, else an ANN; None if nothing prices one."""
    if report.energy is None:
        return None
    for name in ("teacher", "ann"):
        ratios = {
            one.table.title: one.joules_per_image / other.joules_per_image
            for one in report.energy.estimates
            for other in one.alternatives
            if other.name == name and other.joules_per_image
        }
        if ratios:
            break
    else:
        return None
    wins = sum(ratio < 1 for ratio in ratios.values())
    answer = {0: "no", len(ratios): "yes"}.get(wins, f"under {wins} of {len(ratios)}")
    called = {"teacher": "teacher", "ann": "ANN of the same topology"}[name]
    factors = "; ".join(f"{title}: {ratio:.2f}x" for title, ratio in ratios.items())
    return Replaced(answer, f"estimated, against the {called}. {factors}")


def lost(report: Report) -> str:
    """What the exported network gained or lost against the teacher; or empty."""
    found = report.accuracies
    if found.grid is None or found.teacher is None:
        return ""
    return f"{100 * (found.grid - found.teacher):+.1f} points against the teacher"


def mean_rate(report: Report) -> float:
    """Spikes per neuron and step over all spiking layers; 0 without rates.

    A large layer counts more than a small one, as in `Counts.spike_rate`.
    """
    layers = () if report.network is None else report.network.layers
    sizes = {layer.name: layer.neurons for layer in layers}
    weights = [sizes.get(row.layer, 1) for row in report.rates]
    spikes = sum(w * row.rate for w, row in zip(weights, report.rates, strict=True))
    return spikes / sum(weights) if weights else 0.0


def data_sentence(report: Report) -> str:
    """A sentence on whether training used real images."""
    about = report.provenance
    if about.data_free is None:
        return "The run does not record how this network was trained."
    if about.data_free:
        return (
            "Data-free: no real image was used in training or for choosing among"
            " checkpoints. Test images were used only for accuracies and for parity."
        )
    return f"Not data-free: trained on the real images of {about.training_data}."


def certificate_sentence(report: Report) -> str | None:
    """The verdict of the certificate; None without a certificate."""
    proof = report.certificate
    if proof is None:
        return None
    return f"Certificate for T = {proof.steps}: {proof.verdict}."


def counted(images: int) -> str:
    """A number of images, as text."""
    return f"{images:,} image{'' if images == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def percent(share: float) -> str:
    """A share as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def facts(report: Report) -> list[tuple[str, str]]:
    """The known facts of the provenance, as (name, value)."""
    about = report.provenance
    versions = ", ".join(f"{n} {v}" for n, v in about.versions.items() if v)
    proof = report.proof
    bound = proof is not None and proof.state == "bound"
    known = {
        "run": report.path,
        "proof SHA-256": proof.sha256 if proof is not None and bound else None,
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
    """(dotted key, value as JSON) of each nested setting, in order.

    The key of a term has its name, as in "loss.kl.weight".
    """
    for key, value in values.items():
        terms = by_name(value)
        if terms is not None:
            yield from flat(terms, f"{prefix}{key}.")
        elif isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str, ensure_ascii=False)


def by_name(value: object) -> dict[str, Any] | None:
    """A list of terms by their names; None unless all names differ."""
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(one, Mapping) and "name" in one for one in value):
        return None
    found = {
        str(one["name"]): {k: v for k, v in one.items() if k != "name"} for one in value
    }
    return found if len(found) == len(value) else None
