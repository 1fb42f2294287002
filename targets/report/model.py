"""Report: everything that a page about one run says, as plain records.

`report.json` is this, and `targets/schemas/report.schema.json` is its JSON Schema:

    python -m targets.report.model > targets/schemas/report.schema.json

The records of parity.json and energy.json keep what a page shows of them; keys that
are not known here are left out.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from pydantic import Field

from targets.energy_model.report import EnergyReport
from targets.parity_check.report import ParityReport
from targets.record import Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class LayerSummary(Record):
    """One population of the network."""

    name: str
    kind: str = Field(description="type of the node, such as LIF")
    shape: tuple[int, ...]
    neurons: int


class NetworkSummary(Record):
    """What ships."""

    layers: tuple[LayerSummary, ...] = Field(description="in execution order")
    neurons: int
    weights: int = Field(description="weights that are not zero, shared ones once")
    steps: int = Field(description="T, steps per image")
    dt: float = Field(description="seconds a step")
    classes: int


class Accuracies(Record):
    """Shares of the real test images that are classified correctly, 0 to 1."""

    teacher: float | None = None
    student: float | None = Field(None, description="before it was put on the grid")
    grid: float | None = Field(None, description="on the grid: what ships")
    test_data: str | None = None


class Rate(Record):
    """How busy one layer is."""

    layer: str
    rate: float = Field(description="mean spikes per neuron and step, 0 to 1")
    healthy: bool = Field(description="neither nearly silent nor nearly always on")


class CertificateSummary(Record):
    """What was proved from the weights alone."""

    ok: bool
    verdict: str
    steps: int
    exact_steps: int
    breaks: tuple[str, ...] = ()


class Gauge(Record):
    """How much of one resource is used; the page draws one bar of each."""

    group: str = Field(description="heading that gauges share")
    resource: str = Field(description="what it is of: a layer, or what a chip has")
    used: float
    limit: float
    unit: str
    source: str = Field(description="where the limit comes from")

    @property
    def fits(self) -> bool:
        """Whether the limit is kept."""
        return self.used <= self.limit


class StepMap(Record):
    """Mismatches of each layer at each step."""

    targets: tuple[str, ...]
    images: int
    layers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...] = Field(description="[layers, steps]")


class MembraneRecord(Record):
    """One neuron on the sample images."""

    layer: str
    neuron: tuple[int, ...]
    threshold: float | None = Field(description="volts; None without one")
    membrane: tuple[tuple[float, ...], ...] = Field(
        description="[images, T], volts, after the reset of each step"
    )
    spikes: tuple[tuple[int, ...], ...] = Field(
        description="for each image, the steps at which it spiked"
    )


class Raster(Record):
    """Spikes of some neurons of one layer on the sample images."""

    layer: str
    neurons: tuple[int, ...] = Field(description="flat indices, evenly spaced")
    of: int = Field(description="neurons of the layer")
    spikes: tuple[tuple[int, int, int], ...] = Field(
        description="(image, step, position in `neurons`)"
    )


class Activity(Record):
    """What the reference did on a few images."""

    images: int
    steps: int
    decisions: tuple[int, ...]
    rasters: tuple[Raster, ...]
    membranes: tuple[MembraneRecord, ...]


class Series(Record):
    """One training metric over the rounds."""

    name: str
    rounds: tuple[int, ...]
    values: tuple[float | None, ...] = Field(description="None where not finite")


class Artifact(Record):
    """One file of the run."""

    file: str
    sha256: str = Field(description="as the manifest says")
    state: Literal["unchanged", "changed", "gone"]


class Provenance(Record):
    """Where the run comes from."""

    data_free: bool | None = Field(description="None when it is not known")
    training_data: str | None = None
    teacher: str | None = None
    teacher_sha256: str | None = None
    command: str | None = None
    seed: int | None = None
    seconds: float | None = None
    python: str | None = None
    machine: str | None = None
    git_commit: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)


class Missing(Record):
    """A section that is not there, and how to get it."""

    section: str
    reason: str
    remedy: str = Field(description="a command line, or empty")


class Report(Record):
    """Everything that a page about one run says."""

    schema_: Literal["stars.report/1"] = Field("stars.report/1", alias="schema")
    name: str
    path: str
    stars_version: str
    network: NetworkSummary | None = None
    accuracies: Accuracies
    rates: tuple[Rate, ...] = ()
    rates_from: str | None = None
    certificate: CertificateSummary | None = None
    gauges: tuple[Gauge, ...] = ()
    parity: ParityReport | None = None
    step_map: StepMap | None = None
    energy: EnergyReport | None = None
    activity: Activity | None = None
    training: tuple[Series, ...] = ()
    synthetic: bool = Field(
        default=False, description="whether there are synthetic images"
    )
    provenance: Provenance
    warnings: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`."""
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": DIALECT, **schema}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
