"""What a parity run found, as a record and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from targets.compare import Comparison

SCHEMA = "stars.parity/1"
RATES = (0.01, 0.60)  # spikes per neuron and step within which zeros mean something


@dataclass(frozen=True)
class Tolerance:
    """Mismatches that a target may have, over all that was compared, and why."""

    spikes: int
    membranes: int
    reason: str


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
class TargetReport:
    """What one target did.

    Args:
        name: of the target.
        comparison: with the reference.
        seconds: that its runs took; comparing is not in it.
        substituted: whether it ran another network than the reference, on purpose.
    """

    name: str
    comparison: Comparison
    seconds: float
    substituted: bool

    @property
    def ok(self) -> bool:
        """Whether it stays within its tolerance, which is zero."""
        allowed = TOLERANCES.get(self.name, EXACT)
        return (
            self.comparison.spike_mismatches <= allowed.spikes
            and self.comparison.membrane_mismatches <= allowed.membranes
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.comparison
        return {
            "name": self.name,
            "ok": self.ok,
            "images": found.images,
            "neuron_steps": found.neuron_steps,
            "spike_mismatches": found.spike_mismatches,
            "membrane_mismatches": found.membrane_mismatches,
            "membrane_steps": found.membrane_steps,
            "decisions_agree": found.decisions_agree,
            "seconds": round(self.seconds, 3),
            "substituted": self.substituted,
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
    """

    images: int
    steps: int
    neurons: int
    targets: tuple[TargetReport, ...]
    rates: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether every target equals the reference."""
        return all(target.ok for target in self.targets)

    @property
    def rates_outside(self) -> tuple[str, ...]:
        """Layers that are so silent or so busy that zero mismatches say little."""
        low, high = RATES
        return tuple(n for n, rate in self.rates.items() if not low <= rate <= high)

    def divergences(self) -> list[str]:
        """The first place where each target differs, one line a target."""
        return [
            f"target '{t.name}' first diverges at {t.comparison.first}"
            for t in self.targets
            if t.comparison.first is not None
        ]

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
            "steps": self.steps,
            "neurons": self.neurons,
            "targets": [target.to_json() for target in self.targets],
            "rates": dict(self.rates),
            "rates_outside": list(self.rates_outside),
            "skipped": dict(self.skipped),
            "certificate": None if self.certificate is None else dict(self.certificate),
        }
