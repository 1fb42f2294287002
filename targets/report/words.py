"""The sentences on top of a page: verdict, energy range, where accuracies come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from targets.report.model import Parity, Report
from targets.report.svg import si


@dataclass(frozen=True)
class Verdict:
    """What a reader takes away.

    Args:
        state: exact, failed, or unknown when nothing was compared.
        sentence: the headline.
        detail: what it rests on.
    """

    state: Literal["exact", "failed", "unknown"]
    sentence: str
    detail: str


def verdict(report: Report) -> Verdict:
    """Whether every target equals the reference."""
    parity = report.parity
    if parity is None or not parity.compared:
        return Verdict(
            "unknown",
            "Not compared yet",
            "No target has been held against the reference.",
        )
    failed = [target for target in parity.compared if not target.ok]
    if failed:
        return failure(parity)
    steps = sum(target.neuron_steps for target in parity.compared)
    count = len(parity.compared)
    membranes = sum(target.membrane_steps for target in parity.compared)
    return Verdict(
        "exact",
        f"Exact on {count} target{'' if count == 1 else 's'}: 0 of {steps:,}"
        " neuron-steps differ",
        f"Every spike, and all {membranes:,} membranes that were recorded, on"
        f" {', '.join(target.name for target in parity.compared)}; no tolerance.",
    )


def failure(parity: Parity) -> Verdict:
    """Which targets differ, and where first."""
    failed = [target for target in parity.compared if not target.ok]
    first = failed[0]
    place = first.first_divergence
    where = "" if place is None else f": first divergence at {place}, on {first.name}"
    wrong = sum(t.spike_mismatches + t.membrane_mismatches for t in failed)
    fine = [target.name for target in parity.compared if target.ok]
    purpose = [target.name for target in failed if target.substituted]
    detail = [
        f"{wrong:,} spikes and membranes differ on"
        f" {', '.join(target.name for target in failed)}."
    ]
    if fine:
        detail.append(f"Exact on {', '.join(fine)}.")
    if purpose:
        detail.append(
            f"On purpose: {', '.join(purpose)} ran another network (--substitute)."
        )
    return Verdict("failed", f"Not exact{where}", " ".join(detail))


def energy_range(report: Report) -> str | None:
    """From the cheapest cost table to the dearest; None without any."""
    if report.energy is None or not report.energy.estimates:
        return None
    joules = [estimate.joules for estimate in report.energy.estimates]
    low, high = si(min(joules), "J"), si(max(joules), "J")
    return low if low == high else f"{low} to {high}"


def data_sentence(report: Report) -> str:
    """Whether real images were used in training."""
    about = report.provenance
    if about.data_free is None:
        return "How this network was trained is not recorded."
    if about.data_free:
        return (
            "Data-free: no real image was used in training or for choosing among"
            " checkpoints; test images were used to print accuracies and for parity."
        )
    return f"Not data-free: trained on the real images of {about.training_data}."


def certificate_sentence(report: Report) -> str | None:
    """What is proved from the weights; None without a certificate."""
    proof = report.certificate
    if proof is None:
        return None
    return f"Certificate for T = {proof.steps}: {proof.verdict}."
