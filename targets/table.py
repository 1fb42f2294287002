"""The table of targets that `stars targets` lists and `stars parity` runs.

A row is a name and "module:attribute", where the attribute is a class or function that
returns a Target without arguments. `load` imports it, so that listing the names loads
no simulator. Other distributions add rows in the same form by the entry-point group
`stars.targets`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from stars.errors import ConfigError, guess
from targets.base import Target

GROUP = "stars.targets"
TARGETS: dict[str, str] = {
    "reference": "targets.simulators.reference:ReferenceTarget",
    "norse": "targets.simulators.norse:NorseTarget",
    "onnx": "targets.simulators.onnx_runtime:OnnxTarget",
    "c": "targets.c.target:CTarget",
    "c-wasm": "targets.c.cross:WasmTarget",
    "c-arm": "targets.c.cross:ArmTarget",
    "c-arm-m55": "targets.c.cross:cortex_m55",
    "loihi": "targets.loihi.emulator:LoihiEmulator",
    "lava-float": "targets.lava.client:lava_float",
    "lava-fixed": "targets.lava.client:lava_fixed",
}


def names() -> list[str]:
    """The names of all targets, built-in ones first, available or not."""
    return list(_entries())


def load(name: str) -> Target:
    """The target of this name.

    Raises:
        ConfigError: there is none; the message lists all names.
    """
    entries = _entries()
    if name not in entries:
        raise ConfigError(
            f"unknown target '{name}'{guess(name, entries)}; there are"
            f" {', '.join(entries)}"
        )
    make = entries[name].load()
    target: Target = make()
    return target


def _entries() -> dict[str, EntryPoint]:
    """Built-in targets, then those of other distributions with other names."""
    ours = {name: EntryPoint(name, value, GROUP) for name, value in TARGETS.items()}
    theirs = {entry.name: entry for entry in entry_points(group=GROUP)}
    return ours | {name: entry for name, entry in theirs.items() if name not in ours}
