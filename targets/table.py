"""The table of targets: what `stars targets` lists and `stars parity` runs.

A row is a name and where the target is, as "module:attribute", the attribute being a
function or a class without arguments that gives a Target. It is imported when it is
asked for, so that listing one target loads no other's simulator. A distribution of
somebody else's adds rows by the entry-point group `stars.targets`, in the same form.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from stars.errors import ConfigError
from targets.base import Target

GROUP = "stars.targets"
TARGETS: dict[str, str] = {
    "reference": "targets.simulators.reference:ReferenceTarget",
    "norse": "targets.simulators.norse:NorseTarget",
    "onnx": "targets.simulators.onnx_runtime:OnnxTarget",
    "loihi": "targets.loihi.emulator:LoihiEmulator",
    "lava-float": "targets.lava.client:lava_float",
    "lava-fixed": "targets.lava.client:lava_fixed",
}


def names() -> list[str]:
    """The names of all targets, ours first, whether they can run here or not."""
    return list(_entries())


def load(name: str) -> Target:
    """The target of this name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    entries = _entries()
    if name not in entries:
        raise ConfigError(f"unknown target '{name}'; there are {', '.join(entries)}")
    make = entries[name].load()
    target: Target = make()
    return target


def _entries() -> dict[str, EntryPoint]:
    """Ours, then those of other distributions; a name of ours stays ours."""
    ours = {name: EntryPoint(name, value, GROUP) for name, value in TARGETS.items()}
    theirs = {entry.name: entry for entry in entry_points(group=GROUP)}
    return ours | {name: entry for name, entry in theirs.items() if name not in ours}
