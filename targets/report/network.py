"""Report sections from the network alone: layers, certificate and gauges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stars.errors import StarsError
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import PopulationBits, certify
from stars.grid.float32_bounds import FLOAT32_BITS
from stars.grid.plan import ACCUMULATOR_BITS, STATE_SHIFT
from targets.chip.fit import FitReport, counted, fit
from targets.hardware.limits import CHIPS, load_limits
from targets.report.model import (
    CertificateSummary,
    ChipFit,
    Gauge,
    LayerSummary,
    Missing,
    NetworkSummary,
)

MEMBRANE_BITS = ACCUMULATOR_BITS + STATE_SHIFT + 1  # including the sign


def network_sections(graph: SpikingGraph, missing: list[Missing]) -> dict[str, Any]:
    """Network, certificate and gauges; unavailable sections are added to `missing`."""
    found: dict[str, Any] = {"network": network(graph)}
    try:
        proof = certify(graph)
    except StarsError as error:
        reason = f"no certificate: {error}"
        missing.append(Missing(section="certificate", reason=reason, remedy=""))
        return found
    certificate = CertificateSummary(
        ok=proof.ok,
        verdict=proof.verdict,
        steps=proof.steps,
        exact_steps=proof.exact_steps,
        breaks=tuple(map(str, proof.breaks)),
    )
    gauges = [gauge for row in proof.populations for gauge in gauges_of(row)]
    chips = []
    for chip in CHIPS:
        try:
            found_fit = fit(graph, load_limits(chip))
            gauges += chip_gauges(found_fit)
            chips.append(chip_fit(found_fit))
        except StarsError as error:
            reason = f"no fit on {chip}: {error}"
            missing.append(Missing(section="fit", reason=reason, remedy=""))
    return {**found, "certificate": certificate, "gauges": gauges, "chips": chips}


def chip_fit(report: FitReport) -> ChipFit:
    """What `stars check` says of one chip."""
    return ChipFit(
        title=report.limits.title,
        ok=report.ok,
        chips=report.chips(report.cores),
        chips_shared=report.chips(report.cores_shared),
        verdict=report.verdict,
    )


def chip_gauges(report: FitReport) -> list[Gauge]:
    """The cores of one chip that the network needs, and every limit it exceeds."""
    title, cores = report.limits.title, report.limits.limits["cores_per_chip"]
    taken = {
        "all synapses": report.cores,
        "shared kernels": report.cores_shared,
    }
    found = [
        Gauge(
            group=f"cores of {title}",
            resource=what,
            used=used,
            limit=cores.value * report.chips(used),
            unit=f"cores ({counted(report.chips(used), 'chip')})",
            source=cores.source,
        )
        for what, used in taken.items()
    ]
    return found + [
        Gauge(
            group=f"cores of {title}",
            resource=f"{one.node}: {one.limit.replace('_', ' ')}",
            used=one.value,
            limit=one.allowed,
            unit="",
            source=one.source,
        )
        for one in report.violations
        if one.value is not None and one.allowed is not None
    ]


def network(graph: SpikingGraph) -> NetworkSummary:
    """The layers and sizes of a graph."""
    layers = [
        LayerSummary(
            name=name,
            kind=type(graph.nodes[name]).__name__,
            shape=graph.shapes[name],
            neurons=math.prod(graph.shapes[name]),
        )
        for name in graph.neurons
    ]
    weights = (node.parameters().get("weight") for node in graph.nodes.values())
    return NetworkSummary(
        layers=layers,
        neurons=graph.neuron_count(),
        weights=sum(
            int(np.count_nonzero(weight))
            for weight in weights
            if isinstance(weight, np.ndarray)
        ),
        steps=graph.steps,
        dt=graph.dt,
        classes=math.prod(graph.shapes[graph.readout]),
    )


def gauges_of(row: PopulationBits) -> list[Gauge]:
    """The bits that one population needs of each register.

    Source of the limits: `stars.grid.certificate`, bounds 1, 2 and 4.
    """
    needs = {
        "accumulator": (row.accumulator_bits, ACCUMULATOR_BITS),
        "membrane": (row.membrane_bits, MEMBRANE_BITS),
        "float32 mantissa": (row.float32_bits, FLOAT32_BITS),
    }
    return [
        Gauge(
            group=group,
            resource=row.name,
            used=used,
            limit=limit,
            unit="bits",
            source="certificate, from the weights and the input's range",
        )
        for group, (used, limit) in needs.items()
    ]
