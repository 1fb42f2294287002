"""Cost tables: joules per operation, one TOML file each, every number with its source.

A table prices one process node; never add up or compare what two of them say.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from stars.errors import ConfigError, FormatError
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
    """What one operation costs, in joules, and who says so."""

    joules: float
    source: str


@dataclass(frozen=True)
class Memory:
    """What reading or writing a word costs, by the size of the memory that it is in.

    Args:
        word_bytes: of one weight, potential, value or message.
        queue_messages: that a queue of spikes between two layers holds.
        sizes: of a memory, bytes, rising.
        joules: of one access to a memory of each of these sizes; straight lines lie
            between them, and beyond the last it costs no more.
        source: of the numbers.
    """

    word_bytes: int
    queue_messages: int
    sizes: tuple[float, ...]
    joules: tuple[float, ...]
    source: str

    def access(self, words: int) -> float:
        """Joules of one access to a memory of so many words."""
        return float(np.interp(words * self.word_bytes, self.sizes, self.joules))


@dataclass(frozen=True)
class CostTable:
    """The costs of one kind of hardware.

    Args:
        name, title, process, about: what is priced, on which process node, and what is
            not.
        ac: a synaptic operation of a spike, an accumulate.
        mac: a synaptic operation of a graded input value, a multiply-accumulate.
        update_active, update_inactive: a neuron's update in a step.
        spike: handing on one spike.
        bound: whether the numbers are bounds, not measurements or simulations.
        ann_mac: a multiply-accumulate of an ANN on the same process; None where the
            table prices none.
        qnn_bit, qnn_add: of a quantized network on the same process, for each weight:
            for each bit of the activation, and once. None where it prices none.
        address_ac, address_mac: an add and a multiply-accumulate of an address.
        memory: accesses, on top of the operations; None where they are not priced or
            are in the operations' prices.
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


def read_table(path: Path) -> CostTable:
    """A user's own table.

    Raises:
        ConfigError: it has the name of a bundled one.
        FormatError: no such file, or damaged.
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
    """A table from TOML.

    Raises:
        FormatError: no TOML, or with everything that is missing, unknown, without a
            source, or no number from 0 up.
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
    """Everything that is wrong with a table, one text each."""
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
    """Everything that is wrong with the section [memory], one text each."""
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
    """The section [memory], which `memory_problems` found right."""
    return Memory(
        word_bytes=memory["word_bytes"],
        queue_messages=memory["queue_messages"],
        sizes=tuple(float(size) for size in memory["bytes"]),
        joules=tuple(energy * PICO for energy in memory["picojoules"]),
        source=memory["source"].strip(),
    )


def is_amount(value: Any) -> bool:
    """Whether a value is a finite number from 0 up; true and false are none."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= sys.float_info.max  # an integer may be larger


def is_text(value: Any) -> bool:
    """Whether a value is a text with something in it."""
    return isinstance(value, str) and bool(value.strip())
