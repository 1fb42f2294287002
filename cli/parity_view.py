"""The text of a parity report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stars.graph.trace import HEALTHY_RATES
from targets.parity_check.report import NotForced, ParityReport, StateForced


def parity_text(report: ParityReport) -> RenderableType:
    """Firing rates, certificate and targets; the result comes last."""
    skipped = [f"target '{n}' was skipped: {why}" for n, why in report.skipped.items()]
    warned = [f"warning: {text}" for text in report.warnings]
    ending = [*skipped, *report.divergences(), *warned, report.verdict]
    return Group(
        rates_table(report),
        Text("\n".join(certificate_lines(report.certificate, report.input_violation))),
        targets_table(report),
        Text("\n".join([*files(report), *ending])),
    )


def files(report: ParityReport) -> list[str]:
    """The targets that ran their own file."""
    return [f"target '{t.name}' ran '{t.file}'" for t in report.targets if t.file]


def targets_table(report: ParityReport) -> Table:
    """One row per target, with free-running and state-forced mismatches."""
    text = Table(
        "target",
        "images",
        "neuron-steps",
        "spikes",
        "membranes",
        "state-forced",
        "decisions",
        "seconds",
        title=f"mismatches with {report.against}",
    )
    for target in report.targets:
        membranes = f"{target.membrane_mismatches:,}"
        if target.membrane_steps != target.neuron_steps:
            membranes += f" of {target.membrane_steps:,} recorded"
        mark = " (substituted)" if target.substituted else ""
        text.add_row(
            escape(target.name + mark),
            f"{target.images:,}",
            f"{target.neuron_steps:,}",
            f"{target.spike_mismatches:,}",
            membranes,
            forced_cell(target.state_forced),
            f"{target.images - target.decisions_agree:,}",
            f"{target.seconds:.1f}",
        )
    return text


def forced_cell(forced: StateForced | NotForced) -> str:
    """Spikes and membranes that differ in the state-forced run."""
    if isinstance(forced, NotForced):
        return "-"
    return (
        f"{forced.spike_mismatches:,} / {forced.membrane_mismatches:,}"
        f" ({forced.images:,} images)"
    )


def rates_table(report: ParityReport) -> Table:
    """One row per spiking layer; a rate outside the healthy range is marked."""
    low, high = HEALTHY_RATES
    text = Table("layer", "firing rate", "")
    for name, rate in report.rates.items():
        outside = name in report.rates_outside
        mark = f"outside {100 * low:.0f} to {100 * high:.0f} %" if outside else ""
        text.add_row(escape(name), f"{100 * rate:.1f} %", mark)
    return text


def certificate_lines(
    proof: Mapping[str, Any] | None, violation: str | None = None
) -> list[str]:
    """The verdict, the bits of each register, and the broken conditions."""
    if proof is None:
        return []
    lines = [f"certificate for T = {proof['steps']}: {proof['verdict']}"]
    if violation is not None:
        lines = [violation]
    lines += [
        f"  {row['name']}: accumulator {row['accumulator_bits']} of 17 bits, membrane"
        f" {row['membrane_bits']} of 24, float32 {row['float32_bits']} of 24"
        for row in proof["populations"]
    ]
    told = "" if violation is not None else proof["verdict"]
    unsaid = [text for text in proof["breaks"] if text not in told]
    return lines + [f"  broken: {text}" for text in unsaid]
