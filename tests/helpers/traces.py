"""Traces that were changed, for the tests of parity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stars.graph.trace import Trace


def changed(trace: Trace, what: str, name: str, index: Any, value: Any) -> Trace:
    """A copy with one value of one node's record replaced."""
    records = {n: v.copy() for n, v in getattr(trace, what).items()}
    records[name][index] = value
    return dataclasses.replace(trace, **{what: records})


def without(trace: Trace, name: str) -> Trace:
    spikes = {n: v for n, v in trace.spikes.items() if n != name}
    return dataclasses.replace(trace, spikes=spikes)


def cut(trace: Trace, index: Any) -> Trace:
    return Trace(
        {n: v[index] for n, v in trace.spikes.items()},
        {n: v[index] for n, v in trace.membranes.items()},
        trace.readout,
    )


SPOILED: Mapping[str, Callable[[Trace], Trace]] = {
    "a layer less": lambda t: without(t, next(iter(t.spikes))),
    "a sample less": lambda t: cut(t, np.s_[:, 1:]),
    "a step less": lambda t: cut(t, np.s_[1:]),
    "a layer of another name": lambda t: dataclasses.replace(
        t, membranes={**t.membranes, "lif9": t.membranes["readout"]}
    ),
    "another readout": lambda t: dataclasses.replace(t, readout=next(iter(t.spikes))),
    "a layer of another shape": lambda t: dataclasses.replace(
        t, spikes={n: v[..., :1] for n, v in t.spikes.items()}
    ),
}
