"""The student's neuron: worked by hand, against Norse's cell, and compiled."""

from __future__ import annotations

import pytest
import torch
from norse.torch import LIFBoxCell, LIFBoxParameters

from stars.errors import ConfigError
from stars.networks.fused_lif import SURROGATES
from stars.networks.lif import DT, LIFConstants, LIFLayer, norse_loop

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
    """x = 1.25 is held: v' = 0.625, 0.9375, 1.09375 and a spike, then 0.625."""
    spikes, membranes = norse_loop(torch.tensor([1.25]), LIFConstants(), 4)
    assert torch.stack(spikes).ravel().tolist() == [0, 0, 1, 0]
    assert torch.stack(membranes).ravel().tolist() == [0.625, 0.9375, 0.0, 0.625]


def test_another_threshold_and_time_constant_worked_by_hand():
    """k = 1/4, threshold 2, x = 6: v' = 1.5, 2.625 and a spike, 1.5."""
    constants = LIFConstants(tau=4 * DT, threshold=2.0)
    spikes, membranes = norse_loop(torch.tensor([6.0]), constants, 3)
    assert torch.stack(spikes).ravel().tolist() == [0, 1, 0]
    assert torch.stack(membranes).ravel().tolist() == [1.5, 0.0, 1.5]


def test_a_filtered_current_worked_by_hand():
    """k = k_synapse = 1/2, x = 2 once: i' = 2, 1, 1/2; v' = 1, 1, then 3/4."""
    constants = LIFConstants(tau_synapse=2 * DT)
    currents = torch.tensor([[2.0], [0.0], [0.0], [6.0]])
    spikes, membranes = norse_loop(currents, constants, 4)
    assert torch.stack(membranes).ravel().tolist() == [1.0, 1.0, 0.75, 0.0]
    assert torch.stack(spikes).ravel().tolist() == [0, 0, 0, 1]


def images(*, encodes: bool, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = 3 if encodes else 3 * STEPS
    return (torch.randn(rows, 2, 5, 4, generator=generator) * 2).requires_grad_()


def through_norse_cell(current: torch.Tensor, *, encodes: bool) -> torch.Tensor:
    ours = LIFConstants()
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(1 / ours.tau),
        v_th=torch.tensor(ours.threshold),
        method=ours.surrogate,
        alpha=torch.tensor(ours.slope),
    )
    cell = LIFBoxCell(parameters, dt=DT)
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


def test_currents_that_arrive_together_add():
    layer = LIFLayer(LIFConstants(), STEPS, encodes=False, backend="norse-eager")
    a, b = images(encodes=False), images(encodes=False, seed=1)
    assert torch.equal(layer(a, b), layer(a + b))


@pytest.mark.filterwarnings("default")  # the compiler warns
@pytest.mark.parametrize("backend", ["norse-eager", "fused"])
def test_under_autocast_spikes_are_bfloat16_and_the_same(backend):
    layer = LIFLayer(LIFConstants(), STEPS, encodes=False, backend=backend)
    x = images(encodes=False)
    with torch.autocast("cpu", torch.bfloat16):
        spikes = layer(x)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), layer(x))
