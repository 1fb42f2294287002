"""Distillation losses by name: (student's Outputs, teacher's Outputs) -> scalar.

Holds one file for each paper, and a table of the losses.
Import from it: `LOSSES`.
It may import `stars.networks` and what that may import.
All of it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stars.losses.ce import ce
from stars.losses.decoupled import decoupled
from stars.losses.feature_map import feature_map
from stars.losses.hta_kl import hta_kl
from stars.losses.kl import kl
from stars.losses.layerwise import layerwise
from stars.losses.nld import nld
from stars.losses.rkd import rkd
from stars.losses.samd import samd
from stars.losses.tser import tser

Loss = Callable[..., Tensor]  # (student: Outputs, teacher: Outputs, *, options)

LOSSES: dict[str, Loss] = {
    "kl": kl,
    "ce": ce,
    "tser": tser,
    "decoupled": decoupled,
    "hta_kl": hta_kl,
    "nld": nld,
    "samd": samd,
    "feature_map": feature_map,
    "rkd": rkd,
    "layerwise": layerwise,
}

READ_ACTIVATIONS = ("layerwise",)  # losses that read Outputs.activations
