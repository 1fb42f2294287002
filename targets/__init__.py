"""Targets: run an exported file, compare the spikes, estimate the energy.

Holds the protocol and table of targets, their inputs, and a folder for each purpose.
Import from it: `parity` and `energy`, which are the API; `table` finds a target.
It may import `export` and `stars`.
Importing it loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from targets.api import energy as energy, parity as parity

__all__ = ["energy", "parity"]


def __getattr__(name: str) -> Any:
    """Load a public name where it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'targets' has no attribute {name!r}")
    return getattr(import_module("targets.api"), name)
