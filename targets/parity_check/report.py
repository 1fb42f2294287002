"""ParityReport: the result of a parity run, as parity.json holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, computed_field

from stars.graph.trace import HEALTHY_RATES
from targets.origin import Origin
from targets.parity_check.comparison import Comparison
from targets.record import Record
from targets.summary import SummarizedRecord, Summary

SILENT = (
    "SILENT: no neuron spiked on any input; equal zeros prove nothing, spikes cost no"
    " energy, and the biases alone decide the class"
)


class Tolerance(Record):
    """The number of mismatches that a target may have in all, and the reason."""

    spikes: int
    membranes: int
    reason: str

    def allows(self, found: Comparison) -> bool:
        """Whether a comparison has at most these mismatches."""
        return (
            found.spike_mismatches <= self.spikes
            and found.membrane_mismatches <= self.membranes
        )


def exact(reason: str) -> Tolerance:
    """The tolerance of no mismatch, with its reason."""
    return Tolerance(spikes=0, membranes=0, reason=reason)


EXACT = exact("every target equals the reference unless a row says otherwise")
TOLERANCES: Mapping[str, Tolerance] = {
    "reference": exact("it is the definition"),
    "student": exact("float32 sums of integers below 2^24 are exact"),
    "norse": exact("float32 sums of integers below 2^24 are exact"),
    "onnx": exact("float32 sums of integers below 2^24 are exact"),
    **dict.fromkeys(
        ("c", "c-wasm", "c-arm", "c-arm-m55"),
        exact("nothing is truncated while the certificate holds"),
    ),
    "loihi": exact("nothing is truncated while the certificate holds"),
    "lava-float": exact("float64 sums of integers below 2^53 are exact"),
    "lava-fixed": exact("nothing is truncated while the certificate holds"),
}


class StateForced(Comparison):
    """A target's mismatches while each layer read the reference's spikes."""

    ran: Literal[True] = True
    reason: None = None


class NotForced(Record):
    """The reason why a target has no state-forced run."""

    ran: Literal[False] = False
    reason: str


class TargetReport(Comparison):
    """The result of one target: its free run, and its state-forced run."""

    name: str
    tolerance: Tolerance = EXACT
    seconds: float = Field(description="of its free runs, without the comparison")
    substituted: bool = Field(
        default=False, description="whether it ran another network, on purpose"
    )
    file: str | None = Field(
        None, description="its own file, if it ran another than the network's"
    )
    state_forced: StateForced | NotForced = Field(
        default=NotForced(reason="not recorded"), discriminator="ran"
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether all its runs stay within the tolerance."""
        return all(self.tolerance.allows(one) for one in self.runs)

    @property
    def runs(self) -> tuple[Comparison, ...]:
        """The free run, and the state-forced run if there is one."""
        forced = self.state_forced
        return (self, forced) if isinstance(forced, StateForced) else (self,)


class ParityReport(SummarizedRecord):
    """The result of `stars parity`."""

    schema_: Literal["stars.parity/1", "stars.parity/2"] = Field(
        "stars.parity/2", alias="schema"
    )
    origin: Origin | None = Field(
        None, description="the files that ran; None in schema 1, which is unbound"
    )
    images: int = Field(description="most images that a target ran")
    steps: int = Field(description="T, steps per image")
    neurons: int = Field(description="of all layers, readout included")
    against: str = Field(
        "reference", description="the target that all are compared with"
    )
    targets: tuple[TargetReport, ...] = Field(description="in the given order")
    rates: dict[str, float] = Field(
        default_factory=dict,
        description="spikes per neuron and step of each layer, in the reference",
    )
    skipped: dict[str, str] = Field(
        default_factory=dict,
        description="reasons why targets did not run, by name",
    )
    certificate: dict[str, Any] | None = Field(
        None, description="the certificate, computed before the run"
    )

    input_violation: str | None = Field(
        None, description="why the certificate does not hold for these inputs"
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether every target equals the reference."""
        return all(target.ok for target in self.targets)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rates_outside(self) -> tuple[str, ...]:
        """Layers whose rate is so low or so high that 0 mismatches say little."""
        low, high = HEALTHY_RATES
        return tuple(n for n, rate in self.rates.items() if not low <= rate <= high)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def warnings(self) -> list[str]:
        """Warnings about inputs that the certificate is not for, and silent layers."""
        foreign = [] if self.input_violation is None else [self.input_violation]
        return foreign + silence(self.rates)

    @property
    def compared(self) -> tuple[TargetReport, ...]:
        """The targets, without the one that all are compared with."""
        return tuple(t for t in self.targets if t.substituted or t.name != self.against)

    @property
    def width(self) -> dict[str, int]:
        """How many images each target ran that was compared and not substituted."""
        return {t.name: t.images for t in self.compared if not t.substituted}

    @property
    def fails(self) -> bool:
        """Whether a target differs that ran its own network."""
        return any(not t.ok for t in self.targets if not t.substituted)

    @property
    def headline(self) -> str:
        """PASS or FAIL, and how much was compared."""
        compared = self.compared
        steps = sum(target.neuron_steps for target in compared)
        images = f"{self.images:,} image{'' if self.images == 1 else 's'}"
        plural = "" if len(compared) == 1 else "s"
        where = f"{len(compared)} target{plural}, {images}, T = {self.steps}"
        if self.ok:
            return f"PASS: 0 of {steps:,} neuron-steps differ ({where})"
        spikes = sum(target.spike_mismatches for target in compared)
        membranes = sum(target.membrane_mismatches for target in compared)
        return (
            f"FAIL: {spikes:,} spikes and {membranes:,} membranes of {steps:,}"
            f" neuron-steps differ ({where}); {self.verdict}"
        )

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.ok:
            return "parity: every spike and every recorded membrane is equal"
        failed = [target for target in self.targets if not target.ok]
        found = f"parity: FAILED for {', '.join(target.name for target in failed)}"
        if all(run.only_rounding for t in failed for run in t.runs if not run.ok):
            return f"{found}: nothing but rounding, no spike differs"
        return found

    def summary(self) -> Summary:
        """One row per target, then the first divergences and the warnings."""
        return Summary(
            verdict=self.verdict,
            head=(
                "target",
                "result",
                "images",
                "neuron-steps",
                "spikes differ",
                "membranes differ",
            ),
            rows=[
                (
                    target.name + (" (substituted)" if target.substituted else ""),
                    "exact" if target.ok else "differs",
                    f"{target.images:,}",
                    f"{target.neuron_steps:,}",
                    f"{target.spike_mismatches:,}",
                    f"{target.membrane_mismatches:,}",
                )
                for target in self.targets
            ],
            notes=[*self.divergences(), *(f"warning: {one}" for one in self.warnings)],
        )

    def divergences(self) -> list[str]:
        """The first divergence of each target, free-running and state-forced.

        The largest difference says whether it is rounding or an error.
        """
        how = ("first diverges", "state-forced first differs")
        return [
            f"target '{target.name}' {what} at {run.first_divergence}"
            + (f"; {run.largest}" if run.membrane_mismatches else "")
            + ("; nothing but rounding" if run.only_rounding else "")
            for target in self.targets
            for what, run in zip(how, target.runs, strict=False)
            if run.first_divergence is not None
        ]

    def completed(
        self,
        skipped: Mapping[str, str],
        certificate: Mapping[str, Any],
        origin: Origin | None = None,
    ) -> ParityReport:
        """A copy with the skipped targets, the certificate and the origin.

        What the inputs violate is only of interest if there is something to violate.
        """
        violation = self.input_violation if certificate["ok"] else None
        return self.model_copy(
            update={
                "skipped": dict(skipped),
                "certificate": dict(certificate),
                "input_violation": violation,
                "origin": origin,
            }
        )


def silence(rates: Mapping[str, float]) -> list[str]:
    """Warnings about layers that never spiked.

    Args:
        rates: spikes per neuron and step of every spiking layer.
    """
    silent = [name for name, rate in rates.items() if rate == 0]
    if silent and len(silent) == len(rates):
        return [SILENT]
    return [f"layer '{name}' never spiked: its zeros prove nothing" for name in silent]
