"""The text of a parity report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from stars.graph.trace import HEALTHY_RATES
from targets.parity_check.report import NotForced, ParityReport, StateForced


def parity_text(report: ParityReport, *, verbose: bool = False) -> RenderableType:
    """The result, the targets, the certificate and what to know about it.

    Args:
        report: to show.
        verbose: add firing rates, bits of registers, state-forced runs and files.
    """
    skipped = [f"target '{n}' was skipped: {why}" for n, why in report.skipped.items()]
    warned = [f"warning: {text}" for text in report.warnings]
    proof = certificate_lines(report.certificate, report.input_violation, bits=verbose)
    parts: list[RenderableType] = [
        Text(report.headline),
        Text("\n".join(report.divergences())),
        targets_grid(report, verbose=verbose),
        Text("\n".join([*proof, *skipped, *warned])),
    ]
    if verbose:
        parts += [rates_grid(report), Text("\n".join(files(report)))]
    return Group(*(part for part in parts if part))


def files(report: ParityReport) -> list[str]:
    """The targets that ran their own file."""
    return [f"target '{t.name}' ran '{t.file}'" for t in report.targets if t.file]


def targets_grid(report: ParityReport, *, verbose: bool) -> Grid:
    """One row per target, with its mismatches."""
    rows = []
    for target in report.targets:
        membranes = f"{target.membrane_mismatches:,}"
        if target.membrane_steps != target.neuron_steps:
            membranes += f" of {target.membrane_steps:,}"
        mark = " (substituted)" if target.substituted else ""
        more = (
            forced_cell(target.state_forced),
            f"{target.images - target.decisions_agree:,}",
            f"{target.seconds:.1f}",
        )
        rows.append(
            (
                target.name + mark,
                "exact" if target.ok else "differs",
                f"{target.images:,}",
                f"{target.neuron_steps:,}",
                f"{target.spike_mismatches:,}",
                membranes,
                *(more if verbose else ()),
            )
        )
    head = ("target", "result", "images", "neuron-steps", "spikes", "membranes")
    added = ("state-forced", "decisions", "seconds") if verbose else ()
    return Grid((*head, *added), rows, f"mismatches with {report.against}")


def forced_cell(forced: StateForced | NotForced) -> str:
    """Spikes and membranes that differ in the state-forced run."""
    if isinstance(forced, NotForced):
        return "-"
    return (
        f"{forced.spike_mismatches:,} / {forced.membrane_mismatches:,}"
        f" ({forced.images:,} images)"
    )


def rates_grid(report: ParityReport) -> Grid:
    """One row per spiking layer; a rate outside the healthy range is marked."""
    low, high = HEALTHY_RATES
    rows = [
        (
            name,
            f"{100 * rate:.1f} %",
            f"outside {100 * low:.0f} to {100 * high:.0f} %"
            if name in report.rates_outside
            else "",
        )
        for name, rate in report.rates.items()
    ]
    return Grid(("layer", "firing rate", ""), rows)


def certificate_lines(
    proof: Mapping[str, Any] | None, violation: str | None = None, *, bits: bool = True
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
        for row in (proof["populations"] if bits else ())
    ]
    told = "" if violation is not None else proof["verdict"]
    unsaid = [text for text in proof["breaks"] if text not in told]
    return lines + [f"  broken: {text}" for text in unsaid]
