"""On the grid, the certificate holds for any training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from stars.distillation.grid_training import (
    BudgetProjection,
    budgets,
    choose_grids,
    has_headroom,
    to_grid,
)
from stars.errors import LimitError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.grid.certificate import certify
from stars.grid.plan import WEIGHT_LIMIT
from stars.grid.quantization import NodeGrid, weight_exponent, weighted
from stars.grid.rewrite import sum_pools
from stars.networks.architectures import blueprint
from stars.networks.grid_layers import GridLayer, rounded
from stars.networks.lif import DT, LIFConstants
from stars.networks.network import Network
from stars.networks.student import build, recorded, to_graph
from stars.testing.random_graphs import random_images

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class Case:
    """A student: resnet has an identity (s1) and a projection shortcut (s2)."""

    architecture: str
    channels: int
    steps: int = 4

    @property
    def encoding(self) -> DirectEncoding:
        return DirectEncoding((0.45,) * self.channels, (0.3,) * self.channels)

    def images(self, batch: int, seed: int = 0) -> torch.Tensor:
        shape = (self.channels, 8, 8)
        images = random_images(np.random.default_rng(seed), batch, shape)
        encoded = self.encoding.encode(images, 1)[0]
        return torch.from_numpy(encoded.astype(np.float32))

    def student(self) -> Network:
        torch.manual_seed(0)
        options = {"widths": [4, 6], "depths": [2, 1]}
        plan = blueprint(self.architecture, (self.channels, 8, 8), 3, options)
        network = build(plan, self.steps)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # one pass sets the statistics
        with torch.no_grad():
            network.train()(self.images(32))
        return network.eval()


CASES = [Case(name, channels) for name in ("resnet", "vgg") for channels in (1, 3)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def trained(case: Case, learning_rate: float, steps: int = 5) -> Network:
    """A network on the grid after steps with a large learning rate and projections."""
    network = to_grid(case.student(), case.encoding)
    project = BudgetProjection(network, case.encoding)
    project()
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    for seed in range(steps):
        logits = network(case.images(16, seed)).mean_logits
        labels = torch.arange(16) % 3
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        project()
    return network.eval()


def assert_exact(case: Case, network: Network) -> None:
    """The certificate holds, and torch in float32 equals the float64 reference."""
    graph = to_graph(network, case.encoding)
    certificate = certify(graph)
    assert certificate.ok, certificate.verdict
    x = case.images(16, seed=99)
    with torch.no_grad(), recorded(network) as layers:
        outputs = network(x)
    trace = reference.run(graph, np.broadcast_to(x.numpy(), (case.steps, *x.shape)))
    for name, (spikes, membranes) in layers.items():
        assert np.array_equal(spikes.numpy() != 0, trace.spikes[name]), name
        assert np.array_equal(membranes.double().numpy(), trace.membranes[name]), name
    readout = outputs.logits.double().cumsum(0).numpy()
    assert np.array_equal(readout, trace.membranes["readout"])
    assert sum(0 < rate < 1 for rate in trace.rates().values()) >= 2


@every_case
@pytest.mark.parametrize("learning_rate", [1e-3, 0.3])
def test_a_network_that_learns_on_the_grid_stays_exact(case, learning_rate):
    assert_exact(case, trained(case, learning_rate))


@every_case
def test_putting_it_on_the_grid_changes_little(case):
    """Most spikes stay, because the grid has 8 bits."""
    student, x = case.student(), case.images(16)
    network = to_grid(student, case.encoding)
    with torch.no_grad():
        with recorded(student) as free:
            wanted = student(x).mean_logits
        with recorded(network) as on_grid:
            found = network(x).mean_logits
    for name, (spikes, _) in free.items():
        assert float((spikes == on_grid[name][0]).float().mean()) > 0.75, name
    assert (found - wanted).abs().mean() < 0.25 * wanted.abs().mean()


@every_case
@pytest.mark.parametrize("bias", [0.0, 300.0])
def test_steps_leave_headroom_clip_no_bias_and_are_the_finest_that_do(case, bias):
    student = case.student()
    with torch.no_grad():
        student.layers["head"].bias += bias
    graph = sum_pools(to_graph(student, case.encoding))
    parameters = {
        name: (torch.tensor(node.weight), torch.tensor(node.bias))
        for name, node in weighted(graph)
    }
    populations = budgets(student, case.encoding)
    chosen = choose_grids(graph, populations, parameters)
    coarsened = []
    for population in populations:
        names = [a.layer for a in population.arrivals]
        grids = {n: NodeGrid(chosen[n].weight_exponent, 0) for n in names}
        assert has_headroom(population, grids, parameters)
        largest = {n: float(parameters[n][0].abs().max()) for n in names}
        if any(grids[n].weight_exponent > weight_exponent(largest[n]) for n in names):
            coarsened.append(population.name)
            finer = {
                n: replace(grid, weight_exponent=grid.weight_exponent - 1)
                for n, grid in grids.items()
            }
            assert not has_headroom(population, finer, parameters)
    assert ("readout" in coarsened) == (bias > 0)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_other_numbers_of_steps_are_exact_too(steps):
    case = Case("resnet", 1, steps)
    assert_exact(case, trained(case, 0.3))


@pytest.mark.parametrize("architecture", ["resnet", "vgg"])
def test_the_projection_shrinks_what_is_over_the_budget(architecture):
    """27 weights of 127 on inputs of up to 59: 202,311 units; 17 bits are 131,071."""
    case = Case(architecture, 3)
    network = to_grid(case.student(), case.encoding)
    first = next(spec.name for spec in network.blueprint.layers)
    layer = network.layers[first]
    with torch.no_grad():
        layer.weight.fill_(1e6)
    project = BudgetProjection(network, case.encoding)
    assert project() == layer.weight.shape[0]
    assert project() == 0
    steps = layer.weight.detach() / 2.0**layer.grid.weight_exponent
    assert 0 < float(steps.max()) < WEIGHT_LIMIT
    assert_exact(case, network.eval())


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("scale", [0.25, 3.0, 1e6])
def test_wherever_the_weights_go_the_projection_brings_them_back(sign, scale):
    case = Case("resnet", 3)
    network = to_grid(case.student(), case.encoding)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(
                sign * (parameter.abs() + scale * torch.rand_like(parameter))
            )
    project = BudgetProjection(network, case.encoding)
    project()
    assert project() == 0
    certificate = certify(to_graph(network, case.encoding))
    assert certificate.ok, certificate.verdict


def test_many_inputs_of_eight_bits_need_more_than_one_turn_of_shrinking():
    """243 weights shrink to 4.6 steps each and are rounded to 5: over budget again."""
    case = Case("vgg", 27)
    network = to_grid(case.student(), case.encoding)
    with torch.no_grad():
        network.layers["s1_conv1"].weight.fill_(1e6)
    project = BudgetProjection(network, case.encoding)
    project()
    assert project() == 0
    assert certify(to_graph(network, case.encoding)).ok


@pytest.mark.parametrize(("tau", "gain"), [(1, 1.0), (2, 1.875), (4, 175 / 64)])
def test_the_budget_follows_from_the_decay_of_the_neurons(tau, gain):
    """Over 4 steps a membrane keeps 1 + (1 - k) + (1 - k)^2 + (1 - k)^3 currents."""
    case = CASES[0]
    plan = case.student().blueprint
    network = build(plan, 4, LIFConstants(tau=tau * DT))
    first, *_ = budgets(network, case.encoding)
    assert first.limit == pytest.approx((2**17 - 1) / gain, rel=1e-12)


def test_a_slow_decay_on_the_grid_stays_exact():
    """With k = 1/8, 3 steps keep 2.64 times the largest current, k = 1/2 only 1.75."""
    case = Case("vgg", 3, 3)
    network = build(case.student().blueprint, 3, LIFConstants(tau=8 * DT))
    network = to_grid(network.eval(), case.encoding)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e6)
    BudgetProjection(network, case.encoding)()
    certificate = certify(to_graph(network, case.encoding))
    assert certificate.ok, certificate.verdict


def test_a_wide_readout_is_shrunk_for_the_sum_over_all_steps():
    """64 x 64 spikes of weight 127 are 520,192 units in each of four steps."""
    encoding = DirectEncoding((0.45,), (0.3,))
    plan = blueprint("vgg", (1, 8, 8), 2, {"widths": [64], "depths": [1]})
    network = to_grid(build(plan, 4).eval(), encoding)
    with torch.no_grad():
        network.layers["head"].weight.fill_(1e6)
    project = BudgetProjection(network, encoding)
    assert project() == 2
    assert project() == 0
    certificate = certify(to_graph(network, encoding))
    assert certificate.ok, certificate.verdict


def test_what_is_on_budget_is_not_touched():
    case = CASES[0]
    network = to_grid(case.student(), case.encoding)
    project = BudgetProjection(network, case.encoding)
    project()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert project() == 0
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_student_that_no_grid_holds_is_refused():
    """A bias of 2^40 volts beside weights of ordinary size."""
    case = CASES[0]
    student = case.student()
    with torch.no_grad():
        student.layers["stem"].bn.bias.fill_(2.0**60)
    with pytest.raises(LimitError, match="population 'stem_act': no power-of-two step"):
        to_grid(student, case.encoding)


# Rounding


def test_rounding_by_hand():
    """Step 1/4, at most 3 steps; half to even; the gradient is 1 everywhere."""
    x = torch.tensor([0.0, 0.1, 0.13, 0.375, -0.6, 5.0, -5.0], requires_grad=True)
    y = rounded(x, -2, 3)
    assert y.tolist() == [0.0, 0.0, 0.25, 0.5, -0.5, 0.75, -0.75]
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 7


def test_rounding_gives_the_grid_itself_and_not_a_neighbor():
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 3
    steps = rounded(x, -7, WEIGHT_LIMIT) * 2**7
    assert torch.equal(steps, steps.round())
    assert steps.abs().max() == WEIGHT_LIMIT


def test_a_layer_runs_and_tells_the_rounded_weights():
    grid = NodeGrid(weight_exponent=-1, bias_exponent=-2, bias_limit=3)
    layer = GridLayer(torch.tensor([[0.7, 99.0]]), torch.tensor([9.0]), grid, None)
    weight, bias = layer.folded()
    assert weight.tolist() == [[0.5, 63.5]]
    assert bias.tolist() == [0.75]
    assert layer(torch.tensor([[1.0, 2.0]])).item() == 0.5 + 127 + 0.75
