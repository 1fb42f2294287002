"""The student's neuron: by hand, against Norse's own cell, and compiled."""

from __future__ import annotations

import logging

import pytest
import torch
from norse.torch import LIFBoxCell, LIFBoxParameters

from stars import lif
from stars.errors import ConfigError
from stars.lif import (
    DT,
    FUSED_SURROGATES,
    SURROGATES,
    LIFConstants,
    LIFLayer,
    norse_loop,
)

STEPS = 4


def test_eight_steps_worked_by_hand():
    """k = 1/2: v' = (v + x) / 2, a spike above 1 and then 0; exactly 1 is no spike."""
    currents = torch.tensor([[1.5], [1.5], [1.0], [0.5], [4.0], [-2.0], [3.0], [3.0]])
    spikes, membranes = norse_loop(currents, LIFConstants(), 8)
    #        v' = .75  1.125 .5   .5   2.25  -1.0  1.0  2.0
    assert torch.stack(spikes).ravel().tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    expected = [0.75, 0.0, 0.5, 0.5, 0.0, -1.0, 1.0, 0.0]
    assert torch.stack(membranes).ravel().tolist() == expected


def test_a_held_current_worked_by_hand():
    """x = 1.25 is held: v' = .625, .9375, 1.09375 and a spike, then again .625."""
    spikes, membranes = norse_loop(torch.tensor([1.25]), LIFConstants(), 4)
    assert torch.stack(spikes).ravel().tolist() == [0, 0, 1, 0]
    assert torch.stack(membranes).ravel().tolist() == [0.625, 0.9375, 0.0, 0.625]


def test_another_threshold_and_time_constant_worked_by_hand():
    """k = 1/4, threshold 2, x = 6: v' = 1.5, 2.625 and a spike, 1.5."""
    constants = LIFConstants(tau=4 * DT, threshold=2.0)
    spikes, membranes = norse_loop(torch.tensor([6.0]), constants, 3)
    assert torch.stack(spikes).ravel().tolist() == [0, 1, 0]
    assert torch.stack(membranes).ravel().tolist() == [1.5, 0.0, 1.5]


def images(*, encodes: bool, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = 3 if encodes else 3 * STEPS
    return (torch.randn(rows, 2, 5, 4, generator=generator) * 2).requires_grad_()


def through_norse_cell(current: torch.Tensor, *, encodes: bool) -> torch.Tensor:
    ours = LIFConstants().norse()
    fields = {
        k: v if callable(v) or isinstance(v, str) else torch.as_tensor(v)
        for k, v in ours._asdict().items()
    }
    cell = LIFBoxCell(LIFBoxParameters(**fields), dt=DT)
    over_time = [current] * STEPS if encodes else current.unflatten(0, (STEPS, -1))
    spikes, state = [], None
    for x in over_time:
        z, state = cell(x, state)
        spikes.append(z)
    return torch.cat(spikes)


@pytest.mark.parametrize("encodes", [True, False])
def test_the_layer_is_norses_cell_stepped_by_hand_forward_and_backward(encodes):
    ours, theirs = images(encodes=encodes), images(encodes=encodes)
    layer = LIFLayer(LIFConstants(), STEPS, encodes=encodes, backend="norse-eager")
    a, b = layer(ours), through_norse_cell(theirs, encodes=encodes)
    assert 0.05 < float(a.detach().mean()) < 0.6
    assert torch.equal(a, b)
    weights = torch.linspace(-1, 1, a.numel()).reshape(a.shape)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert ours.grad.abs().max() > 0
    assert torch.equal(ours.grad, theirs.grad)


def test_every_call_starts_from_rest():
    layer = LIFLayer(LIFConstants(), STEPS, encodes=False, backend="norse-eager")
    x = images(encodes=False)
    assert torch.equal(layer(x), layer(x))


def test_a_recorded_pass_has_the_same_spikes_and_shows_membranes_by_step():
    layer = LIFLayer(LIFConstants(), STEPS, encodes=False, backend="norse-eager")
    x, seen = images(encodes=False), []
    plain = layer(x)
    layer.observer = lambda *pair: seen.append(pair)
    assert torch.equal(layer(x), plain)
    ((spikes, membranes),) = seen
    assert spikes.shape == membranes.shape == (STEPS, 3, 2, 5, 4)
    assert torch.equal(spikes.flatten(0, 1), plain)
    first = x[:3] / 2
    assert torch.equal(membranes[0], torch.where(first > 1, 0.0, first))


def test_an_unknown_surrogate_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match=r"'ramp' is unknown; there are \['super'"):
        LIFConstants(surrogate="ramp")


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_every_surrogate_passes_a_finite_gradient(surrogate):
    x = images(encodes=False)
    layer = LIFLayer(
        LIFConstants(surrogate=surrogate), STEPS, encodes=False, backend="norse-eager"
    )
    layer(x).sum().backward()
    assert bool(x.grad.isfinite().all())
    assert x.grad.abs().max() > 0


def test_fused_refuses_a_surrogate_whose_compiled_gradient_differs():
    with pytest.raises(ConfigError, match=r"'fused' has the surrogates .*found 'tanh'"):
        LIFLayer(LIFConstants(surrogate="tanh"), 2, encodes=True, backend="fused")


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    lif.fused.cache_clear()
    yield
    lif.fused.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_fused_is_the_plain_loop_and_says_so_once(caplog):
    x = images(encodes=False)
    plain = LIFLayer(LIFConstants(), STEPS, encodes=False, backend="norse-eager")
    fused = LIFLayer(LIFConstants(), STEPS, encodes=False, backend="fused")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fused(x), plain(x))
        assert torch.equal(fused(x), plain(x))
    assert len(caplog.records) == 1
    assert "needs a C++ compiler" in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own warnings are not ours
@pytest.mark.parametrize("surrogate", FUSED_SURROGATES)
def test_the_compiled_loop_has_the_same_bits_forward_and_backward(surrogate):
    torch.compiler.reset()
    constants = LIFConstants(surrogate=surrogate)
    for encodes in (True, False):
        values = []
        for backend in ("norse-eager", "fused"):
            x = images(encodes=encodes)
            layer = LIFLayer(constants, STEPS, encodes=encodes, backend=backend)
            spikes = layer(x)
            (
                spikes * torch.linspace(-1, 1, spikes.numel()).reshape(spikes.shape)
            ).sum().backward()
            values.append((spikes.detach(), x.grad))
        (spikes, gradient), (compiled_spikes, compiled_gradient) = values
        assert torch.equal(spikes, compiled_spikes)
        assert torch.equal(gradient, compiled_gradient)
