"""The power-of-two grid: put a graph on it, and prove what follows.

On the grid every weight and bias is an integer times a power of two. Then sums are
exact whatever their order, and every target that stays within its bits agrees.
"""

from __future__ import annotations

import math

WEIGHT_BITS = 8


def weight_exponent(max_abs: float, *, bits: int = WEIGHT_BITS) -> int:
    """The least e with round(max_abs / 2^e) <= 2^(bits - 1) - 1; 0 for max_abs = 0."""
    if max_abs == 0:
        return 0
    mantissa, exponent = math.frexp(max_abs)
    fits = round(mantissa * 2 ** (bits - 1)) < 2 ** (bits - 1)
    return exponent - (bits - 1) + (not fits)
