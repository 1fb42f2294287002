"""Float32's range, and Norse's k: what is certified is exact, the rest is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Affine,
    AvgPool2d,
    CubaLIF,
    Flatten,
    Input,
    Integrator,
    Output,
    Scale,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import certify
from stars.grid.float32_bounds import float32_breaks
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_graph, random_inputs
from targets import table

DT = 2.0**-10
ONE = np.ones(3)


def chain(*nodes, dt=DT, steps=4, encoding=None) -> SpikingGraph:
    """The nodes one after the other: 'in', 'n0', 'n1', ..., 'out'."""
    named = {
        "in": nodes[0],
        **{f"n{i}": node for i, node in enumerate(nodes[1:])},
        "out": Output(),
    }
    return SpikingGraph(named, tuple(pairwise(named)), dt, steps, encoding)


def affine(exponent: int) -> Affine:
    return Affine(np.eye(3) * 2.0**exponent, np.zeros(3))


def lif(r: int, threshold: int = 0) -> LIF:
    return LIF.uniform((3,), tau=2 * DT, r=2.0**r, v_threshold=2.0**threshold)


def readout() -> tuple[Affine, Integrator]:
    return affine(0), Integrator(ONE / DT)


def image(exponent: int) -> DirectEncoding:
    return DirectEncoding((0.5,), (0.25,), exponent)


# What was certified as exact once, and differed on Norse and ONNX.
BREAKS = {
    "overflow between two maps": lambda: chain(
        Input((3,)), affine(60), Scale(ONE * 2.0**66), lif(-128, -2), *readout()
    ),
    "underflow between two maps": lambda: chain(
        Input((3,)), affine(-80), affine(-80), lif(120, -41), *readout()
    ),
    "an input below float32": lambda: chain(
        Input((1, 1, 3)),
        Flatten(),
        affine(0),
        lif(40, -113),
        *readout(),
        encoding=image(-155),
    ),
    "an input below float32 that weights bring back": lambda: chain(
        Input((1, 1, 3)),
        Flatten(),
        affine(120),
        affine(30),
        lif(0),
        *readout(),
        encoding=image(-150),
    ),
    # The values are in range; the product of the two factors is not.
    "factors that a runtime may multiply first": lambda: chain(
        Input((1, 1, 3)),
        Flatten(),
        affine(-80),
        Scale(ONE * 2.0**-60),
        lif(100, -4),
        *readout(),
        encoding=image(40),
    ),
    "a resistance below float32": lambda: chain(
        Input((3,)), affine(100), affine(26), lif(-130, -4), *readout()
    ),
    "a mean pool whose sum overflows": lambda: chain(
        Input((3, 2, 2)),
        AvgPool2d((2, 2), (2, 2)),
        Flatten(),
        affine(126),
        Scale(ONE * 2.0**2),
        lif(-126),
        *readout(),
    ),
    "a current beyond float32": lambda: chain(
        Input((3,)),
        affine(0),
        CubaLIF(
            *(ONE * tau for tau in (2 * DT, 2 * DT)),
            ONE * 2.0**-126,
            0 * ONE,
            ONE * 2.0**126,
            ONE,
            0 * ONE,
        ),
        *readout(),
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_network_outside_float32s_range_is_not_certified(name):
    certificate = certify(BREAKS[name]())
    assert not certificate.ok
    assert certificate.exact_steps == 0
    assert "2^" in certificate.verdict


def test_a_run_is_exact_until_its_membrane_is_finer_than_float32():
    """The grid is 2^-123 at step 1 and loses a bit a step: 2^-126 at step 4."""
    graph = chain(
        Input((3,)), affine(-122), lif(0, -121), affine(0), Integrator(ONE / DT)
    )
    assert certify(graph, 4).ok
    certificate = certify(graph, 5)
    assert certificate.exact_steps == 4
    assert any("from step 5 on" in b.message for b in certificate.breaks)


def test_a_wide_range_that_float32_holds_is_certified_and_exact():
    graph = chain(
        Input((3,)), affine(60), Scale(ONE * 2.0**60), lif(-120, -1), *readout()
    )
    assert certify(graph).ok
    assert float32_breaks(graph) == ()
    inputs = random_inputs(np.random.default_rng(0), graph, 8)
    desired = reference.run(graph, inputs)
    assert desired.rates()["n2"] > 0
    for name in ("norse", "onnx", "loihi"):
        assert_same_membranes(table.load(name).run(graph, inputs), desired)


# float32(dt) times float32(1 / (2^j dt)) is no power of two for about one in four.
DECIMALS = [round(n * 10.0**-e, 9) for e in (4, 3, 2) for n in (*range(1, 100),)]


@pytest.mark.parametrize("j", [1, 2, 3])
@pytest.mark.parametrize("kind", ["mlp", "cuba"])
def test_norse_steps_by_k_itself_whatever_dt(kind, j):
    norse, rounded = table.load("norse"), 0
    for dt in DECIMALS[:: 7 if kind == "mlp" else 29]:
        rounded += float(np.float32(dt) * np.float32(1 / (dt * 2**j))) != 2.0**-j
        rng = np.random.default_rng(1)
        graph = random_graph(rng, kind=kind, steps=4, decay_shift=j, dt=dt)
        if not certify(graph).ok:
            continue
        inputs = random_inputs(rng, graph, 4)
        desired = reference.run(graph, inputs)
        actual = norse.run(graph, inputs)
        assert_same_spikes(actual, desired)
        assert_same_membranes(actual, desired)
    assert rounded


def test_a_decimal_dt_is_certified():
    """The readout's r = 1 / dt is where a decimal may be off the grid; .007 is not."""
    graph = random_graph(np.random.default_rng(0), kind="mlp", steps=4, dt=0.007)
    assert certify(graph).ok


def test_a_reset_far_above_what_arrives_is_refused_by_the_certificate():
    """More units than 64 bits count; float32 holds neither membrane nor threshold."""
    node = LIF.uniform(
        (3,), tau=2 * DT, v_leak=2.0**80, v_reset=2.0**80, v_threshold=2.0**80 + 2.0**57
    )
    graph = chain(Input((3,)), affine(-10), node, *readout())
    assert not certify(graph).ok
