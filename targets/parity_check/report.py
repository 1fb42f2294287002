"""What a parity run found, as a record and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from targets.parity_check.comparison import Comparison

SCHEMA = "stars.parity/1"
SILENT = (
    "SILENT: no neuron spiked on any input; equal zeros prove nothing, and no energy"
    " is spent on spikes; the network decides by its biases alone"
)
RATES = (0.01, 0.60)  # spikes per neuron and step within which zeros mean something


@dataclass(frozen=True)
class Tolerance:
    """Mismatches that a target may have, over all that was compared, and why."""

    spikes: int
    membranes: int
    reason: str

    def allows(self, found: Comparison) -> bool:
        """Whether a comparison has no more mismatches than these."""
        return (
            found.spike_mismatches <= self.spikes
            and found.membrane_mismatches <= self.membranes
        )


EXACT = Tolerance(0, 0, "every target equals the reference unless a row says otherwise")
TOLERANCES: Mapping[str, Tolerance] = {
    "reference": Tolerance(0, 0, "it is the definition"),
    "student": Tolerance(0, 0, "float32 sums of integers below 2^24 are exact"),
    "norse": Tolerance(0, 0, "float32 sums of integers below 2^24 are exact"),
    "onnx": Tolerance(0, 0, "float32 sums of integers below 2^24 are exact"),
    "loihi": Tolerance(0, 0, "nothing is truncated while the certificate holds"),
    "lava-float": Tolerance(0, 0, "float64 sums of integers below 2^53 are exact"),
    "lava-fixed": Tolerance(0, 0, "nothing is truncated while the certificate holds"),
}


@dataclass(frozen=True)
class StateForced:
    """What a target did while each layer read the reference's spikes: local errors.

    Args:
        comparison: with the reference; None without such a run.
        reason: why there was none.
    """

    comparison: Comparison | None
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.comparison
        return {
            "ran": found is not None,
            "reason": self.reason,
            **({} if found is None else counts(found)),
        }


@dataclass(frozen=True)
class TargetReport:
    """What one target did.

    Args:
        name: of the target.
        comparison: with the reference, free-running.
        seconds: that its free runs took; comparing is not in it.
        substituted: whether it ran another network than the reference, on purpose.
        state_forced: with each layer on the reference's spikes.
        file: that it ran in place of the network's own; None without one.
    """

    name: str
    comparison: Comparison
    seconds: float
    substituted: bool
    state_forced: StateForced
    file: str | None = None

    @property
    def tolerance(self) -> Tolerance:
        """What is allowed."""
        return TOLERANCES.get(self.name, EXACT)

    @property
    def ok(self) -> bool:
        """Whether both runs stay within the tolerance."""
        both = (self.comparison, self.state_forced.comparison)
        return all(self.tolerance.allows(one) for one in both if one is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "ok": self.ok,
            "tolerance": asdict(self.tolerance),
            **counts(self.comparison),
            "seconds": round(self.seconds, 3),
            "substituted": self.substituted,
            "file": self.file,
            "state_forced": self.state_forced.to_json(),
        }


def counts(found: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "images": found.images,
        "neuron_steps": found.neuron_steps,
        "spike_mismatches": found.spike_mismatches,
        "membrane_mismatches": found.membrane_mismatches,
        "membrane_steps": found.membrane_steps,
        "decisions_agree": found.decisions_agree,
        "first_divergence": None if found.first is None else asdict(found.first),
        "layers": [asdict(node) for node in found.nodes],
    }


@dataclass(frozen=True)
class ParityReport:
    """What all targets did.

    Args:
        images, steps, neurons: of the longest comparison; T; with the readout's.
        targets: in the order in which they were given.
        rates: mean spikes per neuron and step of each layer, in the reference.
        skipped: targets that cannot run here, or not this network, with the reason.
        certificate: what was proved before anything ran, as plain values.
        against: what the targets were compared with.
    """

    images: int
    steps: int
    neurons: int
    targets: tuple[TargetReport, ...]
    rates: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None
    against: str = "reference"

    @property
    def ok(self) -> bool:
        """Whether every target equals the reference."""
        return all(target.ok for target in self.targets)

    @property
    def rates_outside(self) -> tuple[str, ...]:
        """Layers that are so silent or so busy that zero mismatches say little."""
        low, high = RATES
        return tuple(n for n, rate in self.rates.items() if not low <= rate <= high)

    @property
    def warnings(self) -> list[str]:
        """What makes zero mismatches worth nothing: layers without a spike."""
        return silence(self.rates)

    def divergences(self) -> list[str]:
        """The first place where each target differs, free-running and state-forced."""
        runs = [
            (f"target '{t.name}' {how} at", found.first)
            for t in self.targets
            for how, found in (
                ("first diverges", t.comparison),
                ("state-forced first differs", t.state_forced.comparison),
            )
            if found is not None
        ]
        return [f"{text} {first}" for text, first in runs if first is not None]

    def completed(
        self, skipped: Mapping[str, str], certificate: Mapping[str, Any]
    ) -> ParityReport:
        """The same report with what was known before anything ran."""
        return replace(self, skipped=skipped, certificate=certificate)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the field "schema" names their meaning."""
        return {
            "schema": SCHEMA,
            "ok": self.ok,
            "images": self.images,
            "against": self.against,
            "warnings": self.warnings,
            "steps": self.steps,
            "neurons": self.neurons,
            "targets": [target.to_json() for target in self.targets],
            "rates": dict(self.rates),
            "rates_outside": list(self.rates_outside),
            "skipped": dict(self.skipped),
            "certificate": None if self.certificate is None else dict(self.certificate),
        }


def silence(rates: Mapping[str, float]) -> list[str]:
    """What to warn of when layers did not spike at all.

    Args:
        rates: spikes per neuron and step of every spiking layer.
    """
    silent = [name for name, rate in rates.items() if rate == 0]
    if silent and len(silent) == len(rates):
        return [SILENT]
    return [f"layer '{name}' never spiked: its zeros prove nothing" for name in silent]
