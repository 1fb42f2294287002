"""The limits of chips, one TOML file each, every number with its source.

A neuromorphic chip must have the limits in `NEEDED`. Another limit of `LIMITS` that a
file lacks is not checked, and the report says so. A file with one of `MEMORIES` is of a
microcontroller and must have them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stars.errors import ConfigError, FormatError, guess
from stars.files.json_toml import parse_toml

CHIPS: Mapping[str, str] = {"loihi1": "loihi1.toml", "loihi2": "loihi2.toml"}
MICROCONTROLLERS: Mapping[str, str] = {
    name: f"{name}.toml" for name in ("cortex-m4", "cortex-m7", "cortex-m55", "rp2040")
}
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
MEMORIES: Mapping[str, str] = {
    "flash_bytes": "memory for constants and code",
    "ram_bytes": "largest block of memory for state and stack",
    "clock_hz": "clock cycles per second",
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
        limits: by a name of `LIMITS` or `MEMORIES`; a missing one is not checked.
    """

    name: str
    title: str
    about: str
    limits: Mapping[str, Limit]

    @property
    def microcontroller(self) -> bool:
        """Whether it runs programs, instead of neurons in hardware."""
        return not MEMORIES.keys().isdisjoint(self.limits)

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
    bundled = {**CHIPS, **MICROCONTROLLERS}
    if name not in bundled:
        raise ConfigError(
            f"unknown chip '{name}'{guess(name, bundled)}; there are"
            f" {', '.join(bundled)}, or your own with"
            " --limits FILE.toml"
        )
    file = files("targets.hardware.limits") / bundled[name]
    return parse_limits(file.read_text(encoding="utf-8"), bundled[name])


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
    small = not MEMORIES.keys().isdisjoint(limits)
    known = MEMORIES if small else LIMITS
    missing = sorted(set(MEMORIES if small else NEEDED) - set(limits))
    unknown = sorted(set(limits) - {*known})
    wrong = sorted(
        n for n, limit in limits.items() if limit.value < 1 or not limit.source
    )
    if missing or unknown or wrong:
        raise FormatError(
            f"limits '{where}': missing {missing}, unknown {unknown}, below 1 or"
            f" without source {wrong}; there are {', '.join(known)}"
        )
    return ChipLimits(name, title, about, limits)
