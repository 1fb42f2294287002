"""The text of a quantization report."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from cli.parity_view import certificate_lines
from targets.grid_cost import QuantizationReport


def quantize_text(report: QuantizationReport) -> RenderableType:
    """Weights, spikes and certificate; the decisions come last."""
    return Group(
        weights_table(report),
        spikes_table(report),
        Text("\n".join([*certificate_lines(report.certificate.to_json())])),
        Text("\n".join(decisions(report))),
    )


def weights_table(report: QuantizationReport) -> Grid:
    """One row per node with weights."""
    head = (
        "node",
        "weights",
        "step",
        "largest error",
        "relative",
        "clipped",
        "bias error",
        "clipped biases",
    )
    rows = []
    for row in report.nodes:
        step = "unchanged" if row.step_exponent is None else f"2^{row.step_exponent}"
        rows.append(
            (
                row.node,
                f"{row.weights:,}",
                step,
                f"{row.weight_error:.3g}",
                f"{100 * row.relative_error:.2f} %",
                f"{row.clipped_weights:,}",
                f"{row.bias_error:.3g}",
                f"{row.clipped_biases:,}",
            )
        )
    return Grid(head, rows)


def spikes_table(report: QuantizationReport) -> Grid:
    """One row per spiking layer."""
    head = (
        "layer",
        "equal spikes",
        "rate",
        "rate on the grid",
        "threshold error",
        "tau, s",
    )
    rows = []
    for row in report.neurons:
        tau = f"{row.tau_before:.6g}"
        if row.tau_after != row.tau_before:
            tau += f" -> {row.tau_after:.6g}"
        rows.append(
            (
                row.node,
                f"{100 * row.agreement:.2f} %",
                f"{100 * row.rate_before:.1f} %",
                f"{100 * row.rate_after:.1f} %",
                f"{row.threshold_error:.3g}",
                tau,
            )
        )
    return Grid(head, rows)


def decisions(report: QuantizationReport) -> list[str]:
    """The inputs, the share of equal decisions, and the accuracies."""
    lines = [
        f"measured on {report.source}",
        f"{100 * report.decisions:.2f} % of the decisions are equal",
    ]
    if report.accuracy_before is not None and report.accuracy_after is not None:
        lines.append(
            f"accuracy {100 * report.accuracy_before:.2f} %, on the grid"
            f" {100 * report.accuracy_after:.2f} %"
        )
    return lines
