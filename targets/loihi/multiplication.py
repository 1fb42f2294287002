"""Matrix products of the emulator, by BLAS."""

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
    """The arithmetic of a product.

    Args:
        kind: float32 where that is exact, else float64.
        factor: power of two that multiplies every integer weight.
        spikes: True if the values are bool, False if they are numbers.
    """

    kind: type[np.floating[Any]]
    factor: float = 1.0
    spikes: bool = False


def multiplication(matrix: Values, form: Arithmetic) -> Multiply:
    """A function that multiplies rows by factor * matrix.

    Args:
        matrix: integers [K, N] in -127..127.
        form: arithmetic of the product.
    """
    scaled = matrix.astype(form.kind) * form.kind(form.factor)

    def multiply(rows: Values, out: Values) -> None:
        np.matmul(rows.astype(form.kind, copy=False), scaled, out=out)

    return multiply
