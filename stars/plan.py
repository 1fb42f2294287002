"""IntegerPlan: the one lowering of an on-grid graph to integers.

The emulator, the Lava worker, the HDF5 writer and the certificate all read it; none of
them quantises by itself. Between two neuron nodes (or the input and one) every chain of
maps is one sparse integer product, so pooling and flattening have no special case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from stars.nodes.base import Shape


@dataclass(frozen=True, eq=False)
class Population:
    """One neuron node, in integers. One unit is 2^exponent volts.

    Each step, in units (before the chip's own << 6):

        v' = v - v k + sum of connections + bias      k = 2^-decay_shift, or 0
        s  = [v' > threshold];  v = 0 where s

    Args:
        name, shape: of the node.
        spiking: False for a readout, which has no leak, no threshold.
        exponent: log2 of one unit in volts (v is relative to the node's v_reset).
        decay_shift: j in k = dt / tau = 2^-j; None without leak.
        threshold: in units; None for a readout.
        bias: int64 [N], added at every step, units; k r b and the leak included.
        latency: number of spiking populations before it on the longest path.
        offset: v_reset in volts: membrane in volts = units 2^exponent + offset.
    """

    name: str
    shape: Shape
    spiking: bool
    exponent: int
    decay_shift: int | None
    threshold: int | None
    bias: NDArray[np.int64]
    latency: int
    offset: float


@dataclass(frozen=True, eq=False)
class Connection:
    """current[target] += (weights @ x[source]) << shift, in units of the target.

    Args:
        source: name of a population, or of the input.
        target: name of a population.
        weights: int32 [N target, N source], every entry in -127..127.
        shift: left shift, >= 0; never a right shift, which would floor.
        delay: extra steps a target with one step of transport per connection must add,
            so that branches meet: latency(target) - latency(source) - 1, >= 0.
    """

    source: str
    target: str
    weights: csr_array
    shift: int
    delay: int


@dataclass(frozen=True, eq=False)
class IntegerPlan:
    """An on-grid graph as integers.

    Args:
        input_name, input_shape: of the graph's input.
        input_exponent: x = q 2^input_exponent with integer q, |q| <= 127 (graded), or
            0 for spikes.
        populations: in execution order; the last is the readout.
        connections: grouped by target, in the order of populations.
        steps: T, one input's length; state is reset after it.
    """

    input_name: str
    input_shape: Shape
    input_exponent: int
    populations: tuple[Population, ...]
    connections: tuple[Connection, ...]
    steps: int
