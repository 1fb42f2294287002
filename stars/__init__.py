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

`stars.distill` does the first five steps; `export.write`, `targets.parity` and
`targets.energy` do the rest. `__all__` is the API. Names load on first use, so that
`import stars` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stars.distillation.api import (
        DistilledStudent as DistilledStudent,
        distill as distill,
    )
    from stars.errors import StarsError as StarsError
    from stars.graph import (
        DirectEncoding as DirectEncoding,
        LatencyEncoding as LatencyEncoding,
        PoissonEncoding as PoissonEncoding,
        SpikingGraph as SpikingGraph,
        Trace as Trace,
    )
    from stars.grid import (
        certify as certify,
        lower as lower,
        quantize as quantize,
    )

    __version__: str

PUBLIC: dict[str, str] = {
    "DirectEncoding": "stars.graph",
    "DistilledStudent": "stars.distillation.api",
    "LatencyEncoding": "stars.graph",
    "PoissonEncoding": "stars.graph",
    "SpikingGraph": "stars.graph",
    "StarsError": "stars.errors",
    "Trace": "stars.graph",
    "certify": "stars.grid",
    "distill": "stars.distillation.api",
    "lower": "stars.grid",
    "quantize": "stars.grid",
}

__all__ = sorted(PUBLIC)  # noqa: PLE0605 - one list of names, not two


def __getattr__(name: str) -> Any:
    """Load a public name where it is first asked for (PEP 562)."""
    if name == "__version__":
        return version("stars-snn")
    if name not in PUBLIC:
        raise AttributeError(f"module 'stars' has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)
