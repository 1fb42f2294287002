"""Assertions that two traces are equal; a failure names the first difference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stars.graph.trace import Trace


def assert_same_spikes(actual: Trace, desired: Trace) -> None:
    """Raise AssertionError unless every node's spikes are equal.

    The message names the first difference: the earliest step, in it the first node in
    the order of `desired`, and in that node the first sample and neuron.
    """
    assert_same_records("spikes", actual.spikes, desired.spikes)


def assert_same_membranes(actual: Trace, desired: Trace) -> None:
    """Raise AssertionError unless every recorded membrane is equal bit for bit."""
    assert_same_records("membranes", actual.membranes, desired.membranes)


def assert_same_records(
    what: str,
    actual: Mapping[str, NDArray[np.generic]],
    desired: Mapping[str, NDArray[np.generic]],
) -> None:
    """Raise AssertionError at the first difference of two sets of arrays by node."""
    if set(actual) != set(desired):
        raise AssertionError(
            f"{what}: nodes {sorted(actual)}, expected {sorted(desired)}"
        )
    first: tuple[int, str, tuple[int, ...]] | None = None
    for name, right in desired.items():
        left = actual[name]
        if left.shape != right.shape:
            raise AssertionError(
                f"{what} of node {name!r} have shape {left.shape},"
                f" expected {right.shape}"
            )
        places = np.argwhere(left != right)
        if len(places) and (first is None or places[0][0] < first[0]):
            where = tuple(int(i) for i in places[0])
            first = (where[0], name, where)
    if first is not None:
        step, name, where = first
        count = np.count_nonzero(actual[name] != desired[name])
        raise AssertionError(
            f"{what} diverge first at node {name!r}, step {step}, sample {where[1]},"
            f" neuron {where[2:]}: {actual[name][where]}, expected"
            f" {desired[name][where]} ({count} of {desired[name].size} in this node)"
        )
