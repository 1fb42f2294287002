"""Exact numbers: integer mantissas times one power of two, without rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.errors import GraphError, LimitError
from stars.graph.nodes import Array

Integers = NDArray[np.int64]
MANTISSA_BITS = 24  # of one node's values; float32 holds no more
PRODUCT_BITS = 62


@dataclass(frozen=True, eq=False)
class Dyadic:
    """The values mantissas 2^exponent.

    Args:
        mantissas: int64, a dense array or a sparse matrix.
        exponent: log2 of the value of one unit.
    """

    mantissas: Any
    exponent: int

    def at(self, exponent: int) -> Any:
        """The mantissas in units of 2^exponent.

        Raises:
            LimitError: `exponent` is too coarse, or the result needs more than 62 bits.
        """
        shift = self.exponent - exponent
        if largest(self.mantissas) == 0:
            return self.mantissas
        if shift < 0 or bits(largest(self.mantissas)) + shift > PRODUCT_BITS:
            raise LimitError(
                "exact integers",
                [
                    f"multiples of 2^{self.exponent} in units of 2^{exponent} are no"
                    f" integers of at most {PRODUCT_BITS} bits"
                ],
            )
        return self.mantissas * 2**shift

    def reduced(self) -> Dyadic:
        """The same values with the largest exponent; exponent 0 if all are 0."""
        zeros = trailing_zeros(self.mantissas)
        if zeros is None:
            return Dyadic(self.mantissas, 0)
        return Dyadic(shifted_right(self.mantissas, zeros), self.exponent + zeros)


def entries(mantissas: Any) -> Integers:
    """The stored integers of a sparse matrix, or the array itself."""
    stored = mantissas.data if isinstance(mantissas, csr_array) else mantissas
    return np.asarray(stored, dtype=np.int64)


def shifted_right(mantissas: Any, count: int) -> Any:
    """The integers divided by 2^count, which must divide all of them."""
    if not isinstance(mantissas, csr_array):
        return mantissas >> count
    result = mantissas.copy()
    result.data >>= count
    return result


def largest(mantissas: Any) -> int:
    """The largest magnitude; 0 if there are no entries."""
    return int(np.abs(entries(mantissas)).max(initial=0))


def bits(value: int) -> int:
    """Bits of a magnitude, without sign: 127 -> 7, 128 -> 8."""
    return abs(value).bit_length()


def trailing_zeros(mantissas: Any) -> int | None:
    """The largest n such that 2^n divides every integer; None if all are 0."""
    together = int(np.bitwise_or.reduce(entries(mantissas), axis=None))
    return (together & -together).bit_length() - 1 if together else None


def dyadic(values: Array, what: str) -> Dyadic:
    """`values` as integers times the largest power of two that divides them all.

    Args:
        values: float64, finite.
        what: name for the error message, such as "weight".

    Raises:
        GraphError: the integers need more than 24 bits; the message has the finest
            value.
    """
    values = np.asarray(values, dtype=np.float64)
    fraction, exponent = np.frexp(values)
    whole = np.ldexp(fraction, 53).astype(np.int64)
    lowest_bit = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    finest = np.where(whole == 0, np.iinfo(np.int32).max, exponent - 53 + lowest_bit)
    if not whole.any():
        return Dyadic(np.zeros(values.shape, np.int64), 0)
    place = np.unravel_index(int(finest.argmin()), values.shape)
    unit = int(finest[place])
    need = int(exponent.max(where=whole != 0, initial=-2000)) - unit
    if need > MANTISSA_BITS:
        raise GraphError(
            f"{what}{[int(i) for i in place] or ''} is {float(values[place])!r}: with"
            f" {what}s up to {float(np.abs(values).max())!r} it needs {need} bits,"
            f" and at most {MANTISSA_BITS} are exact"
        )
    return Dyadic(np.ldexp(values, -unit).astype(np.int64), unit)


def aligned(a: Dyadic, b: Dyadic) -> tuple[Any, Any, int]:
    """(Mantissas of a, mantissas of b, exponent), in the finer of the two units."""
    lit = [x.exponent for x in (a, b) if largest(x.mantissas)]
    exponent = min(lit, default=0)
    return a.at(exponent), b.at(exponent), exponent


def add(a: Dyadic, b: Dyadic) -> Dyadic:
    """The exact sum of two values."""
    left, right, exponent = aligned(a, b)
    return Dyadic(left + right, exponent)


def product(matrix: csr_array, operand: Any) -> Any:
    """The product matrix @ operand, int64, exact.

    Raises:
        LimitError: a sum may need more than 62 bits.
    """
    longest = int(np.diff(matrix.indptr).max(initial=0))
    if bits(largest(matrix) * largest(operand) * longest) > PRODUCT_BITS:
        raise LimitError(
            "exact integers", ["a sum of products may need more than 62 bits"]
        )
    return matrix @ operand


def as_float32(values: Array | float) -> NDArray[np.float32]:
    """`values` in float32; exact on a certified grid.

    Raises:
        GraphError: a value is too large for float32.
    """
    with np.errstate(over="ignore"):
        array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise GraphError(
            f"values of up to {np.abs(values).max():g} do not fit float32, at most"
            f" {np.finfo(np.float32).max:g}; scale weights and thresholds"
        )
    return array
