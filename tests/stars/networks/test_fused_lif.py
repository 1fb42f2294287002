"""The fused population is bit-exact with Norse, compiled or not, in both passes."""

from __future__ import annotations

import logging
from itertools import product

import pytest
import torch
from hypothesis import given, settings, strategies as st

from stars.networks.fused_lif import COMPILED_SURROGATES, SURROGATES, Population
from stars.networks.lif import DT, LIFConstants, norse_loop

NEURONS = {
    "box": LIFConstants(),
    "box, no dyadic time constant": LIFConstants(tau=3.1 * DT, threshold=0.7),
    "cuba": LIFConstants(tau_synapse=2 * DT),
    "cuba, no dyadic time constants": LIFConstants(
        tau=3.1 * DT, tau_synapse=4.7 * DT, threshold=0.7
    ),
}


def currents(held: bool, steps: int, size: int, dtype: torch.dtype, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shape = (size,) if held else (steps, size)
    return torch.randn(shape, generator=generator, dtype=dtype) * 2 + 0.3


def assert_norses_bits(
    constants: LIFConstants, held: bool, steps: int, size: int, dtype: torch.dtype
) -> None:
    """Spikes and gradients for a sum of two currents are bit-exact with Norse."""
    first = currents(held, steps, size, dtype)
    second = currents(held, steps, size, dtype, seed=1)
    ours = [first.clone().requires_grad_(), second.clone().requires_grad_()]
    theirs = (first + second).requires_grad_()
    spikes = Population.apply(constants.cell(steps), dtype, *ours)
    expected = torch.stack(norse_loop(theirs, constants, steps)[0])
    assert torch.equal(spikes, expected)
    weights = torch.linspace(-1, 1, spikes.numel(), dtype=dtype).reshape(spikes.shape)
    (spikes * weights).sum().backward()
    (expected * weights).sum().backward()
    assert theirs.grad.abs().max() > 0
    for current in ours:
        assert torch.equal(current.grad, theirs.grad)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uncompiled_it_has_norses_bits(neuron, surrogate, held, dtype):
    parts = NEURONS[neuron]
    constants = LIFConstants(
        parts.tau, parts.threshold, surrogate, slope=0.7, tau_synapse=parts.tau_synapse
    )
    for steps in (1, 2, 5):
        assert_norses_bits(constants, held, steps, 37, dtype)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns
@pytest.mark.parametrize("neuron", ["box", "cuba, no dyadic time constants"])
@pytest.mark.parametrize("surrogate", COMPILED_SURROGATES)
def test_compiled_it_has_norses_bits(neuron, surrogate):
    parts = NEURONS[neuron]
    constants = LIFConstants(
        parts.tau, parts.threshold, surrogate, slope=0.7, tau_synapse=parts.tau_synapse
    )
    for held, size in product((True, False), (7, 1001)):
        assert_norses_bits(constants, held, 4, size, torch.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_compiled_in_float64_and_with_a_surrogate_that_is_not_compiled():
    assert_norses_bits(LIFConstants(), False, 3, 65, torch.float64)
    assert_norses_bits(LIFConstants(surrogate="tanh"), False, 3, 65, torch.float32)


@pytest.mark.usefixtures("no_compiler")
@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 30), st.booleans(), st.integers(0, 9))
def test_bfloat16_spikes_are_currents_like_others(steps, size, held, seed):
    cell = LIFConstants().cell(steps)
    x = currents(held, steps, size, torch.float32, seed)
    z = (x > 0).to(torch.bfloat16).requires_grad_()
    spikes = Population.apply(cell, torch.bfloat16, x, z)
    assert spikes.dtype == torch.bfloat16
    expected = Population.apply(cell, torch.float32, x + z.float())
    assert torch.equal(spikes.float(), expected)
    spikes.sum().backward()
    assert z.grad.dtype == torch.bfloat16


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_one_line_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        for steps in (2, 3):
            assert_norses_bits(LIFConstants(), True, steps, 5, torch.float32)
    assert len(caplog.records) == 1
    assert "found no C++ compiler" in caplog.text


@pytest.mark.usefixtures("no_compiler")
def test_it_keeps_nothing_but_the_currents():
    """A population stores only its currents, not its states."""
    cell = LIFConstants().cell(4)
    x = torch.randn(10, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.numel()) or t, lambda t: t
    ):
        Population.apply(cell, torch.float32, x)
    assert saved == [10]
