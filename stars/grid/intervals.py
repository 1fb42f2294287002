"""Interval arithmetic: the integers that sums, currents and membranes can reach.

All bounds are proofs, not estimates: exact integers or fractions in units of the
population (see `stars.grid.plan.Population`), from the interval of each source.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.sparse import csr_array

from stars.grid.exact import Integers

Interval = tuple[Integers, Integers]
Range = tuple[Fraction, Fraction]


def spike_interval(size: int) -> Interval:
    """The interval of spikes: 0 to 1, for `size` neurons."""
    return np.zeros(size, np.int64), np.ones(size, np.int64)


def product_interval(weights: csr_array, low: Integers, high: Integers) -> Interval:
    """Least and largest of weights @ x for low <= x <= high: [N], [N].

        least = sum over w > 0 of w x_low  +  sum over w < 0 of w x_high

    and the reverse for the largest. Both are reached, because the x are independent.
    """
    positive = weights.astype(np.int64)
    negative = positive.copy()
    positive.data, negative.data = positive.data.clip(min=0), negative.data.clip(max=0)
    return positive @ low + negative @ high, positive @ high + negative @ low


def magnitude(weights: csr_array, low: Integers, high: Integers) -> Integers:
    """The largest sum of |w x| over each row, [N]: it bounds every partial sum.

    In any order of summation, a partial result is a sum of some of the terms, so it is
    never larger than this.
    """
    return np.asarray(abs(weights).astype(np.int64) @ np.maximum(-low, high))


def current_intervals(low: int, high: int, shift: int, steps: int) -> list[Range]:
    """Least and largest synaptic current at each step, from 0.

        u' = u (1 - k) + a        low <= a <= high, k = 2^-shift

    With shift 0 there is no memory, and u' = a. Otherwise the interval is widened to
    contain 0, so that the bounds also hold for decays that truncate toward 0.

    Args:
        low: least sum that arrives in a step, units.
        high: largest sum.
        shift: of the decay.
        steps: T.
    """
    if not shift:
        return [(Fraction(low), Fraction(high))] * steps
    keep = 1 - Fraction(1, 2**shift)
    least, most = Fraction(0), Fraction(0)
    found = []
    for _ in range(steps):
        least, most = least * keep + min(low, 0), most * keep + max(high, 0)
        found.append((least, most))
    return found


def membrane_intervals(
    increments: Sequence[Range], *, decay_shift: int | None, threshold: int | None
) -> list[Range]:
    """Least and largest membrane before the reset, at each step, from rest at 0.

        v' = v (1 - k) + a        low <= a <= high, k = 2^-decay_shift or 0

    v' increases with v and with a, so its bounds follow from the bounds of both. After
    the reset v is v' if v' <= threshold, else 0. So v is at most the threshold and at
    least min(v', 0). One interval of a covers all neurons.

    Args:
        increments: least and largest a at each step, bias included, units.
        decay_shift: j, or None without leak.
        threshold: units, or None without reset.
    """
    keep = Fraction(1) if decay_shift is None else 1 - Fraction(1, 2**decay_shift)
    least, most = Fraction(0), Fraction(0)
    found = []
    for low, high in increments:
        least, most = least * keep + low, most * keep + high
        found.append((least, most))
        if threshold is not None and most > threshold:
            least, most = min(least, Fraction(0)), Fraction(threshold)
    return found
