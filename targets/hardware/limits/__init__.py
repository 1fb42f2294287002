"""The limits of chips, one TOML file each, every number with its source.

A file must have the limits in `NEEDED`. Another limit of `LIMITS` that a file lacks is
not checked, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stars.errors import ConfigError, FormatError, guess
from stars.files.json_toml import parse_toml

CHIPS: Mapping[str, str] = {"loihi1": "loihi1.toml", "loihi2": "loihi2.toml"}
LIMITS: Mapping[str, str] = {
    "cores_per_chip": "cores of one chip",
    "compartments_per_core": "neurons of one core",
    "input_axons_per_core": "different sources that one core listens to",
    "output_axons_per_core": "pairs of a neuron of one core and a core it feeds",
    "synapse_bits_per_core": "memory for the synapses of one core",
    "weight_bits": "bits of a weight, with the sign",
    "weight_exponent": "left shift of a sum of weights",
    "delay": "steps that a synapse can delay, beyond the transport's one",
    "threshold_bits": "bits of a threshold, before its shift by 6",
    "bias_bits": "bits of a bias's mantissa, with the sign",
    "bias_exponent": "left shift of a bias's mantissa",
    "accumulator_bits": "bits of a current, with the sign and the shift by 6",
    "input_bits": "bits that a message carries; 1 for a spike",
}
NEEDED = ("cores_per_chip", "compartments_per_core", "synapse_bits_per_core")


@dataclass(frozen=True)
class Limit:
    """The largest value allowed, and its source."""

    value: int
    source: str


@dataclass(frozen=True)
class ChipLimits:
    """The limits of one kind of chip.

    Args:
        name, title, about: of the chip and of its numbers.
        limits: by a name of `LIMITS`; a missing limit is not checked.
    """

    name: str
    title: str
    about: str
    limits: Mapping[str, Limit]

    def value(self, name: str) -> int | None:
        """The largest value allowed; None without a figure."""
        return self.limits[name].value if name in self.limits else None

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Limits without a figure."""
        return tuple(name for name in LIMITS if name not in self.limits)


def load_limits(name: str, path: Path | None = None) -> ChipLimits:
    """The bundled limits of this name, or those in a user's file.

    Raises:
        ConfigError: no such chip, or no such file.
        FormatError: the file is damaged or incomplete.
    """
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"limits '{path}': no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(f"limits '{path}': {error}") from error
        return parse_limits(text, str(path))
    if name not in CHIPS:
        raise ConfigError(
            f"unknown chip '{name}'{guess(name, CHIPS)}; there are"
            f" {', '.join(CHIPS)}, or your own with"
            " --limits FILE.toml"
        )
    text = (files("targets.hardware.limits") / CHIPS[name]).read_text(encoding="utf-8")
    return parse_limits(text, CHIPS[name])


def parse_limits(text: str, where: str) -> ChipLimits:
    """The limits in a TOML text.

    Raises:
        FormatError: the text is not TOML, or a limit is missing, unknown, below 1 or
            without a source.
    """
    try:
        content = parse_toml(text)
    except ValueError as error:
        raise FormatError(f"limits '{where}': not TOML: {error}") from error
    try:
        limits = {
            name: Limit(int(limit["value"]), str(limit["source"]).strip())
            for name, limit in content["limits"].items()
        }
        title, about = str(content["title"]), str(content["about"]).strip()
        name = str(content["name"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError(
            f"limits '{where}': expected name, title, about and a value and a source"
            f" for each of [limits]: {error!r}"
        ) from error
    missing, unknown = (
        sorted(set(NEEDED) - set(limits)),
        sorted(set(limits) - {*LIMITS}),
    )
    wrong = sorted(
        n for n, limit in limits.items() if limit.value < 1 or not limit.source
    )
    if missing or unknown or wrong:
        raise FormatError(
            f"limits '{where}': missing {missing}, unknown {unknown}, below 1 or"
            f" without source {wrong}; there are {', '.join(LIMITS)}"
        )
    return ChipLimits(name, title, about, limits)
