"""Cost tables: joules per operation, one TOML file each, every number with its source.

A table prices one process node; never add up or compare what two of them say.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from stars.errors import ConfigError, FormatError

PICO = 1e-12
TABLES: Mapping[str, str] = {
    "loihi1": "loihi1.toml",
    "horowitz45": "horowitz45.toml",
}
NEEDED = ("ac", "mac", "update_active", "update_inactive", "spike")
OPTIONAL = ("ann_mac",)


@dataclass(frozen=True)
class Cost:
    """What one operation costs, in joules, and who says so."""

    joules: float
    source: str


@dataclass(frozen=True)
class CostTable:
    """The costs of one kind of hardware.

    Args:
        name, title, about: what is priced, and what is not.
        ac: a synaptic operation of a spike, an accumulate.
        mac: a synaptic operation of a graded input value, a multiply-accumulate.
        update_active, update_inactive: a neuron's update in a step.
        spike: handing on one spike.
        ann_mac: a multiply-accumulate of an ANN on the same process; None where the
            hardware runs none.
    """

    name: str
    title: str
    about: str
    ac: Cost
    mac: Cost
    update_active: Cost
    update_inactive: Cost
    spike: Cost
    ann_mac: Cost | None = None


def load_table(name: str) -> CostTable:
    """The bundled table of this name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
        FormatError: its file is damaged.
    """
    if name not in TABLES:
        raise ConfigError(f"unknown cost table '{name}'; there are {', '.join(TABLES)}")
    text = (files("targets.hardware") / TABLES[name]).read_text(encoding="utf-8")
    return parse_table(text, TABLES[name])


def parse_table(text: str, where: str) -> CostTable:
    """A table from TOML.

    Raises:
        FormatError: no TOML, a cost is missing or unknown, negative or without source.
    """
    try:
        content = tomllib.loads(text)
        costs = {
            name: Cost(float(cost["picojoules"]) * PICO, str(cost["source"]).strip())
            for name, cost in content["costs"].items()
        }
        title, about = str(content["title"]), str(content["about"]).strip()
        name = str(content["name"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FormatError(f"cost table '{where}': {error!r}") from error
    missing, unknown = set(NEEDED) - set(costs), set(costs) - {*NEEDED, *OPTIONAL}
    wrong = sorted(n for n, c in costs.items() if not c.joules >= 0 or not c.source)
    if missing or unknown or wrong:
        raise FormatError(
            f"cost table '{where}': missing {sorted(missing)}, unknown"
            f" {sorted(unknown)}, negative or without source {wrong}"
        )
    return CostTable(name, title, about, **costs)
