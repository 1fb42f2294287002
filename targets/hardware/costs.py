"""Cost tables: joules per operation, one TOML file each, every number with its source.

A table prices one process node; never add or compare numbers of two tables.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from stars.errors import ConfigError, FormatError, guess
from stars.files.json_toml import parse_toml

PICO = 1e-12
TABLES: Mapping[str, str] = {
    "loihi1": "loihi1.toml",
    "loihi2": "loihi2.toml",
    "spinnaker2": "spinnaker2.toml",
    "yan22": "yan22.toml",
    "horowitz45": "horowitz45.toml",
    "horowitz45-int8": "horowitz45-int8.toml",
    "lemaire45": "lemaire45.toml",
}
NEEDED = ("ac", "mac", "update_active", "update_inactive", "spike")
OPTIONAL = ("ann_mac", "qnn_bit", "qnn_add", "address_ac", "address_mac")
TEXTS = ("name", "title", "process", "about")


@dataclass(frozen=True)
class Cost:
    """The energy of one operation in joules, and its source."""

    joules: float
    source: str


@dataclass(frozen=True)
class Memory:
    """The energy of reading or writing a word, by the size of its memory.

    Args:
        word_bytes: size of one weight, potential, value or message.
        queue_messages: capacity of the queue of spikes between two layers.
        sizes: memory sizes in bytes, rising.
        joules: energy of one access at each of these sizes; linear between them, and
            constant beyond the last.
        source: of the numbers.
    """

    word_bytes: int
    queue_messages: int
    sizes: tuple[float, ...]
    joules: tuple[float, ...]
    source: str

    def access(self, words: int) -> float:
        """Joules of one access to a memory of `words` words."""
        return float(np.interp(words * self.word_bytes, self.sizes, self.joules))


@dataclass(frozen=True)
class CostTable:
    """The costs of one kind of hardware.

    Args:
        name, title, process, about: what is and is not priced, on which process node.
        ac: synaptic operation of a spike, an accumulate.
        mac: synaptic operation of a graded input value, a multiply-accumulate.
        update_active, update_inactive: a neuron's update in a step.
        spike: sending one spike.
        bound: True if the numbers are bounds, not measurements or simulations.
        ann_mac: multiply-accumulate of an ANN on the same process; None if not priced.
        qnn_bit, qnn_add: of a quantized network on the same process, per weight: once
            per bit of the activation, and once more. None if not priced.
        address_ac, address_mac: an add and a multiply-accumulate of an address.
        memory: accesses, added to the operations; None if they are not priced or are
            part of the operations' prices.
    """

    name: str
    title: str
    process: str
    about: str
    ac: Cost
    mac: Cost
    update_active: Cost
    update_inactive: Cost
    spike: Cost
    bound: bool = False
    ann_mac: Cost | None = None
    qnn_bit: Cost | None = None
    qnn_add: Cost | None = None
    address_ac: Cost | None = None
    address_mac: Cost | None = None
    memory: Memory | None = None


def table_of(name: str) -> CostTable:
    """A bundled table by its name, or the table in a user's TOML file.

    Raises:
        ConfigError: there is no such table; the message lists the bundled ones.
        FormatError: the file is damaged.
    """
    if name in TABLES:
        return load_table(name)
    if name.endswith(".toml"):
        return read_table(Path(name))
    raise ConfigError(
        f"unknown cost table '{name}'{guess(name, TABLES)}; there are"
        f" {', '.join(TABLES)}, or a .toml file of your own"
    )


def load_table(name: str) -> CostTable:
    """The bundled table of this name.

    Raises:
        ConfigError: there is none; the message lists all names.
        FormatError: its file is damaged.
    """
    if name not in TABLES:
        raise ConfigError(f"unknown cost table '{name}'; there are {', '.join(TABLES)}")
    text = (files("targets.hardware") / TABLES[name]).read_text(encoding="utf-8")
    return parse_table(text, TABLES[name])


def read_table(path: Path) -> CostTable:
    """The table in a user's file.

    Raises:
        ConfigError: it has the name of a bundled table.
        FormatError: the file is missing or damaged.
    """
    try:
        table = parse_table(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cost table '{path}': {error}") from error
    if table.name in TABLES:
        raise ConfigError(
            f"cost table '{path}': its name '{table.name}' is that of a bundled table;"
            " give it another"
        )
    return table


def parse_table(text: str, where: str) -> CostTable:
    """The table in a TOML text.

    Raises:
        FormatError: the text is not TOML, or the message lists every entry that is
            missing, unknown, negative, no number or without a source.
    """
    try:
        content = parse_toml(text)
    except ValueError as error:
        raise FormatError(f"cost table '{where}': not TOML: {error}") from error
    costs = content.get("costs", {})
    wrong = problems(content, costs if isinstance(costs, dict) else {})
    if wrong:
        raise FormatError(f"cost table '{where}': " + "; ".join(wrong))
    fields: dict[str, Any] = {name: content[name].strip() for name in TEXTS}
    fields["bound"] = bool(content.get("bound", False))
    if "memory" in content:
        fields["memory"] = parse_memory(content["memory"])
    for name, cost in costs.items():
        fields[name] = Cost(cost["picojoules"] * PICO, cost["source"].strip())
    return CostTable(**fields)


def problems(content: Mapping[str, Any], costs: Mapping[str, Any]) -> list[str]:
    """All errors of a table, one text each."""
    known = {*NEEDED, *OPTIONAL}
    top = {*TEXTS, "bound", "costs", "memory"}
    found = [f"no text '{name}'" for name in TEXTS if not is_text(content.get(name))]
    found += [f"no cost '{name}'" for name in NEEDED if name not in costs]
    found += [f"unknown cost '{name}'" for name in sorted(set(costs) - known)]
    found += [f"unknown entry '{name}'" for name in sorted(set(content) - top)]
    for name, cost in costs.items():
        fields = cost if isinstance(cost, dict) else {}
        if not is_amount(fields.get("picojoules")):
            value = fields.get("picojoules")
            found.append(f"cost '{name}' is {value!r} pJ; give a number from 0 up")
        if not is_text(fields.get("source")):
            found.append(f"cost '{name}' has no source")
    if ("qnn_bit" in costs) != ("qnn_add" in costs):
        found.append("of 'qnn_bit' and 'qnn_add' one alone is no price")
    if "memory" in content:
        found += memory_problems(content["memory"], costs)
    return found


def memory_problems(memory: Any, costs: Mapping[str, Any]) -> list[str]:
    """All errors of the section [memory], one text each."""
    fields = memory if isinstance(memory, dict) else {}
    found = [
        f"[memory] {name} is {fields.get(name)!r}; give a whole number from 1 up"
        for name in ("word_bytes", "queue_messages")
        if not (isinstance(fields.get(name), int) and fields[name] >= 1)
    ]
    points: list[Any] = [fields.get(name) for name in ("bytes", "picojoules")]
    if not all(isinstance(p, list) and p and all(map(is_amount, p)) for p in points):
        found.append("[memory] needs bytes and picojoules: lists of numbers from 0 up")
    elif len(points[0]) != len(points[1]) or sorted(set(points[0])) != points[0]:
        found.append("[memory] needs as many picojoules as bytes, and these rising")
    if not is_text(fields.get("source")):
        found.append("[memory] has no source")
    found += [
        f"[memory] needs the cost '{name}' too"
        for name in ("address_ac", "address_mac")
        if name not in costs
    ]
    return found


def parse_memory(memory: Mapping[str, Any]) -> Memory:
    """The section [memory], already checked by `memory_problems`."""
    return Memory(
        word_bytes=memory["word_bytes"],
        queue_messages=memory["queue_messages"],
        sizes=tuple(float(size) for size in memory["bytes"]),
        joules=tuple(energy * PICO for energy in memory["picojoules"]),
        source=memory["source"].strip(),
    )


def is_amount(value: Any) -> bool:
    """Whether a value is a finite number >= 0 and no bool."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= sys.float_info.max  # an int may exceed it


def is_text(value: Any) -> bool:
    """Whether a value is a text that is not blank."""
    return isinstance(value, str) and bool(value.strip())
