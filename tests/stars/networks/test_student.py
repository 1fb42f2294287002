"""Students: their graph and their recording."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stars.errors import GraphError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.networks.architectures import blueprint
from stars.networks.blueprint import ConvBN
from stars.networks.lif import DT, LIFConstants
from stars.networks.network import ConvBNLayer
from stars.networks.student import build, lif_layers, recorded, to_graph, with_membranes
from stars.testing.random_graphs import random_images

pytestmark = pytest.mark.usefixtures("one_thread")
ENCODING = DirectEncoding((0.45,), (0.3,))
OPTIONS = {"widths": [4, 6], "depths": [1, 1]}
STEPS = 3
both = pytest.mark.parametrize("architecture", ["resnet", "vgg"])


def inputs(batch: int = 8) -> torch.Tensor:
    images = random_images(np.random.default_rng(0), batch, (1, 8, 8))
    return torch.from_numpy(ENCODING.encode(images, 1)[0].astype(np.float32))


def student(architecture: str):
    """A student whose BatchNorm statistics differ from the initial ones."""
    torch.manual_seed(0)
    network = build(blueprint(architecture, (1, 8, 8), 3, OPTIONS), STEPS)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one pass sets the statistics
    with torch.no_grad():
        network.train()(inputs(32))
    return network.eval()


@both
def test_membranes_before_the_reset_are_above_the_threshold_where_a_spike_is(
    architecture,
):
    network, x = student(architecture), inputs()
    with torch.no_grad(), recorded(network) as layers:
        plain = network(x)
    x.requires_grad_()
    outputs = with_membranes(network, x)
    assert torch.equal(outputs.logits, plain.logits)
    assert len(outputs.membranes) == len(layers)
    pairs = zip(layers.values(), outputs.membranes, strict=True)
    for (spikes, after), before in pairs:
        assert torch.equal(before > 1, spikes > 0)
        assert torch.equal(before[spikes == 0], after[spikes == 0])
    torch.stack([m.mean() for m in outputs.membranes]).sum().backward()
    assert float(x.grad.abs().max()) > 0


@both
def test_the_reference_runs_the_graph_as_torch_runs_the_student(architecture):
    """Float32 and float64 round differently, so one spike in a thousand may move."""
    network, x = student(architecture), inputs()
    with torch.no_grad(), recorded(network) as layers:
        outputs = network(x)
    graph = to_graph(network, ENCODING)
    assert graph.steps == STEPS
    trace = reference.run(graph, np.broadcast_to(x.numpy(), (STEPS, *x.shape)))
    assert list(layers) == list(lif_layers(network)) == list(trace.spikes)
    for name, (spikes, membranes) in layers.items():
        equal = spikes.numpy().astype(bool) == trace.spikes[name]
        assert equal.mean() > 0.998
        np.testing.assert_allclose(
            membranes.numpy()[equal], trace.membranes[name][equal], atol=2e-2
        )
        assert 0 < trace.rates()[name] < 1
    logits = outputs.logits.cumsum(0).numpy()
    np.testing.assert_allclose(logits, trace.membranes["readout"], atol=0.3)
    assert np.abs(logits - trace.membranes["readout"]).mean() < 0.01


@both
def test_the_graph_keeps_every_name_and_its_metadata(architecture):
    network = student(architecture)
    graph = to_graph(network, ENCODING, {"seed": "3"})
    names = {spec.name for spec in network.blueprint.layers}
    assert set(graph.nodes) == names | {"input", "flatten", "readout", "output"}
    assert graph.metadata["seed"] == "3"
    assert graph.encoding == ENCODING


def test_a_filtered_current_is_refused_because_lif_nodes_have_none():
    plan = blueprint("vgg", (1, 8, 8), 3, OPTIONS)
    network = build(plan, STEPS, LIFConstants(tau_synapse=2 * DT))
    with pytest.raises(GraphError, match=r"'s1_act1' has tau_synapse .* expected None"):
        to_graph(network, ENCODING)


def test_recording_ends_with_its_block_and_changes_nothing():
    network, x = student("resnet"), inputs()
    with torch.no_grad():
        plain = network(x).logits
        with recorded(network) as layers:
            assert torch.equal(network(x).logits, plain)
        layers.clear()
        network(x)
    assert layers == {}


def test_a_folded_layer_is_the_layer_even_where_the_variance_is_tiny():
    torch.manual_seed(0)
    layer = ConvBNLayer(ConvBN("a", "input", (2, 3), 3, stride=2, padding=1)).eval()
    with torch.no_grad():
        for values in (layer.bn.weight, layer.bn.bias, layer.bn.running_mean):
            values.copy_(torch.randn(3))
        layer.bn.running_var.copy_(torch.tensor([1e-6, 0.3, 40.0]))
        x = torch.randn(4, 2, 5, 5)
        weight, bias = layer.folded()
        folded = nn.functional.conv2d(x.double(), weight, bias, 2, 1)
        torch.testing.assert_close(layer(x).double(), folded, rtol=1e-4, atol=1e-4)
