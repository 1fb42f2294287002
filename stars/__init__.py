"""Data-free distillation of trained ANNs into spiking networks that run exactly.

    teacher             a trained ANN, frozen                      stars.teacher
      -> images         invented by a generator                    stars.synthesis
      -> student        Norse LIF, learns from them                stars.distillation
      -> on the grid    8-bit integers times powers of two         stars.distillation
      -> SpikingGraph   what runs, as data                         stars.graph
      -> Trace          what it does, float64                      stars.graph
      -> certificate    for how many steps all targets agree       stars.grid
      -> files          NIR, ONNX, Lava bundle                     export
      -> other traces   Norse, Loihi emulator, Lava                targets

Public names load on first use, so that `import stars` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

PUBLIC: dict[str, str] = {
    "DirectEncoding": "stars.graph",
    "LatencyEncoding": "stars.graph",
    "PoissonEncoding": "stars.graph",
    "SpikingGraph": "stars.graph",
    "StarsError": "stars.errors",
    "Trace": "stars.graph",
    "certify": "stars.grid",
    "lower": "stars.grid",
    "quantize": "stars.grid",
}

__all__ = sorted(PUBLIC)  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> Any:
    """Load a public name where it is first asked for (PEP 562)."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'stars' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
