"""The one place where the emulator multiplies matrices: by BLAS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Multiply = Callable[[Values, Values], None]  # [rows, K] into [rows, N]


@dataclass(frozen=True)
class Arithmetic:
    """What a product is computed with.

    Args:
        kind: float32 where that is exact, else float64.
        factor: a power of two, of every integer weight.
        spikes: whether the values are bool; else they are numbers.
    """

    kind: type[np.floating[Any]]
    factor: float = 1.0
    spikes: bool = False


def multiplication(matrix: Values, form: Arithmetic) -> Multiply:
    """A function that multiplies rows by factor * matrix.

    Args:
        matrix: integers [K, N] in -127..127.
        form: what is computed with.
    """
    scaled = matrix.astype(form.kind) * form.kind(form.factor)

    def multiply(rows: Values, out: Values) -> None:
        np.matmul(rows.astype(form.kind, copy=False), scaled, out=out)

    return multiply
