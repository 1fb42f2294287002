"""Report: the content of the page about one run, as plain records.

`report.json` holds it. Its JSON Schema is `targets/schemas/report.schema.json`:

    python -m targets.report.model > targets/schemas/report.schema.json

Its parts "parity" and "energy" are the records in parity.json and energy.json.
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
    """The exported network."""

    layers: tuple[LayerSummary, ...] = Field(description="in execution order")
    neurons: int
    weights: int = Field(description="nonzero weights; a shared weight counts once")
    steps: int = Field(description="T, steps per image")
    dt: float = Field(description="seconds per step")
    classes: int


class Accuracies(Record):
    """Shares of real test images that are classified correctly, 0 to 1."""

    teacher: float | None = None
    student: float | None = Field(None, description="before it was put on the grid")
    grid: float | None = Field(None, description="on the grid, as exported")
    test_data: str | None = None


class Rate(Record):
    """The firing rate of one layer."""

    layer: str
    rate: float = Field(description="mean spikes per neuron and step, 0 to 1")
    healthy: bool = Field(description="neither almost silent nor almost always firing")


class CertificateSummary(Record):
    """The certificate, which follows from the weights alone."""

    ok: bool
    verdict: str
    steps: int
    exact_steps: int
    breaks: tuple[str, ...] = ()

    @property
    def other_breaks(self) -> list[str]:
        """The reasons that the verdict does not say."""
        return [text for text in self.breaks if text not in self.verdict]


class Gauge(Record):
    """The use of one resource; the page draws one bar for each."""

    group: str = Field(description="heading that several gauges share")
    resource: str = Field(description="the layer, or a resource of a chip")
    used: float
    limit: float
    unit: str
    source: str = Field(description="source of the limit")

    @property
    def fits(self) -> bool:
        """Whether the limit is kept."""
        return self.used <= self.limit


class ChipFit(Record):
    """Whether the network keeps the limits of one chip, as `stars check` says."""

    title: str
    ok: bool = Field(description="whether no limit is exceeded")
    chips: int = Field(description="needed with every synapse stored")
    chips_shared: int = Field(description="needed at least with shared kernels")
    verdict: str


class StepMap(Record):
    """Mismatches of each layer at each step, summed over targets."""

    targets: tuple[str, ...]
    images: int
    layers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...] = Field(description="[layers, steps]")


class MembraneRecord(Record):
    """One neuron on the sample images."""

    layer: str
    neuron: tuple[int, ...]
    threshold: float | None = Field(description="volts; None if the layer has none")
    membrane: tuple[tuple[float, ...], ...] = Field(
        description="[images, T], volts, after each step's reset"
    )
    spikes: tuple[tuple[int, ...], ...] = Field(
        description="steps with a spike, for each image"
    )


class Raster(Record):
    """Spikes of some neurons of one layer on the sample images."""

    layer: str
    neurons: tuple[int, ...] = Field(description="flat indices, evenly spaced")
    of: int = Field(description="number of neurons in the layer")
    spikes: tuple[tuple[int, int, int], ...] = Field(
        description="(image, step, position in `neurons`)"
    )


class Activity(Record):
    """Spikes and membranes of the reference on a few images."""

    images: int
    steps: int
    decisions: tuple[int, ...]
    rasters: tuple[Raster, ...]
    membranes: tuple[MembraneRecord, ...]


class Series(Record):
    """One training metric over the rounds."""

    name: str
    rounds: tuple[int, ...]
    values: tuple[float | None, ...] = Field(description="None if not finite")


class Artifact(Record):
    """One file of the run."""

    file: str
    sha256: str = Field(description="from the manifest")
    state: Literal["unchanged", "changed", "gone"]


class RunConditions(Record):
    """The conditions under which a run was distilled."""

    seed: int | None = None
    seconds: float | None = None
    python: str | None = None
    machine: str | None = None
    git_commit: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)


class Provenance(RunConditions):
    """The origin of the run."""

    data_free: bool | None = Field(description="None if unknown")
    training_data: str | None = None
    teacher: str | None = None
    teacher_sha256: str | None = None
    command: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)


class Missing(Record):
    """A missing section, and the command that creates it."""

    section: str
    reason: str
    remedy: str = Field(description="a command line, or empty")


class Proof(Record):
    """The file of a result, and whether it is about the files of the run."""

    file: str = Field(description="parity.json or energy.json")
    sha256: str
    state: Literal["bound", "unbound", "other files"] = Field(
        description="unbound: it has schema 1, which names no file"
    )
    reason: str | None = Field(None, description="why it is about other files")


class Report(Record):
    """The content of the page about one run."""

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
    chips: tuple[ChipFit, ...] = ()
    parity: ParityReport | None = None
    proof: Proof | None = Field(None, description="the file of `parity`")
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
