"""netx HDF5: what Lava's own loader makes of it equals the emulator, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from export.to_netx import write
from stars.errors import UnsupportedNodeError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import (
    LIF,
    Conv2d,
    CubaLIF,
    Input,
    Integrator,
    Output,
    SumPool2d,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.grid.rewrite import with_truncating_decay
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_graph, random_inputs
from targets.lava.client import run_netx
from targets.loihi.emulator import emulate

DT = 2.0**-10
SEQUENTIAL = ["mlp", "flat", "conv", "vgg"]


def one_population(conv: Conv2d, pool: SumPool2d | None = None) -> SpikingGraph:
    """Image, pool if any, convolution, LIF, convolution of all pixels, readout."""
    image = Input((1, 8, 8))
    between = {"pool": pool} if pool else {}
    shape = pool.output_shape(image.shape) if pool else image.shape
    shape = conv.output_shape(shape)
    last = Conv2d(np.ones((2, *shape)), np.zeros(2))
    nodes = {
        "input": image,
        **between,
        "conv": conv,
        "lif": LIF.uniform(shape, tau=2 * DT),
        "last": last,
        "readout": Integrator(np.full((2, 1, 1), 1 / DT)),
        "output": Output(),
    }
    names = list(nodes)
    edges = tuple(pairwise(names))
    return SpikingGraph(nodes, edges, DT, 4)


def kernel(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-8, 9, shape) / 16.0


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_the_loader_gives_the_emulators_output(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(sum(kind.encode()))
    graph = random_graph(rng, kind=kind)
    inputs = random_inputs(rng, graph, 5)
    plan = write(graph, tmp_path / "net.net")
    trace = run_netx(tmp_path / "net.net", plan, inputs)
    expected = emulate(lower(graph), inputs)
    assert min(expected.rates().values()) > 0.01
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_truncating_decay_goes_through_lavas_loader(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    plain = random_graph(rng, kind="flat", steps=16)
    graph = with_truncating_decay(plain)
    inputs = random_inputs(rng, graph, 5)
    plan = write(graph, tmp_path / "net.net")
    trace = run_netx(tmp_path / "net.net", plan, inputs)
    expected = reference.run(graph, inputs)
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)
    with pytest.raises(AssertionError, match="membranes diverge"):
        assert_same_membranes(reference.run(plain, inputs), expected)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_synaptic_current_goes_through_lavas_loader(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    plain = random_graph(rng, kind="vgg", bias=False, steps=4)
    current = {"tau_syn": 4 * plain.dt, "tau_mem": 2 * plain.dt, "w_in": 2.0}
    graph = plain.replace_nodes(
        {name: CubaLIF.uniform(plain.shapes[name], **current) for name in plain.spiking}
    )
    inputs = random_inputs(rng, graph, 5)
    plan = write(graph, tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        assert file["layer/1/neuron/iDecay"][()] == 1024
    trace = run_netx(tmp_path / "net.net", plan, inputs)
    expected = emulate(lower(graph), inputs)
    assert min(expected.rates().values()) > 0.01
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_student_of_the_sequential_builder_goes_through_lavas_loader(
    make_teacher, striped, tmp_path: Path
) -> None:
    """From the torch module on the grid to lava-dl's netx: every layer is equal."""
    import torch  # noqa: PLC0415 - the other tests here need none

    from stars.distillation.grid_training import to_grid  # noqa: PLC0415
    from stars.networks.student import build, to_graph  # noqa: PLC0415

    teacher = make_teacher("vgg").network
    student = build(teacher.blueprint, 4)
    images = striped(40).images
    encoding = DirectEncoding((0.45,), (0.3,))
    inputs = encoding.encode(images, 4)
    with torch.no_grad():
        for _ in range(30):  # the running statistics settle
            student.train()(torch.from_numpy(inputs[0].astype(np.float32)))
    graph = to_graph(to_grid(student.eval(), encoding).eval(), encoding)
    plan = write(graph, tmp_path / "net.net")
    trace = run_netx(tmp_path / "net.net", plan, inputs[:, :6])
    expected = emulate(lower(graph), inputs[:, :6])
    assert min(expected.rates().values()) > 0.01
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_pools_strides_paddings_and_groups(tmp_path: Path) -> None:
    """A pool and a convolution become one strided convolution."""
    rng = np.random.default_rng(2)
    conv = Conv2d(kernel(rng, 4, 1, 3, 3), kernel(rng, 4), (1, 2), (1, 0))
    graph = one_population(conv, SumPool2d((2, 1), (2, 1)))
    inputs = random_inputs(rng, graph, 5)
    plan = write(graph, tmp_path / "net.net")
    trace = run_netx(tmp_path / "net.net", plan, inputs)
    expected = reference.run(graph, inputs)
    assert expected.spikes["lif"].any()
    assert_same_spikes(trace, expected)
    assert_same_membranes(trace, expected)


def test_the_file_holds_integers_in_the_documented_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    graph = random_graph(rng, kind="vgg")
    plan = write(graph, tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        layers = file["layer"]
        kinds = [layers[str(i)]["type"][0] for i in range(len(layers))]
        assert kinds == [b"input", b"conv", b"conv", b"flatten", b"dense", b"dense"]
        assert layers["1"]["neuron/type"][0] == b"CUBA"
        assert layers["1"]["neuron/iDecay"][()] == 4096
        assert layers["1"]["neuron/vDecay"][()] == 2048
        assert layers["1"]["neuron/vThMant"][()] == plan.populations[0].threshold
        assert layers["5"]["neuron/vDecay"][()] == 0
        for i in (1, 2, 4, 5):
            weight = layers[str(i)]["weight"][()]
            assert weight.dtype.kind == "i"
            assert 0 < np.abs(weight).max() <= 254


@pytest.mark.parametrize("kind", ["residual", "shortcut"])
def test_refuses_branches(kind: str, tmp_path: Path) -> None:
    graph = random_graph(np.random.default_rng(5), kind=kind)
    with pytest.raises(UnsupportedNodeError, match="the format has no branches"):
        write(graph, tmp_path / "net.net")
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_pool_that_leaves_pixels_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    conv = Conv2d(kernel(rng, 2, 1, 3, 3), np.zeros(2), padding=(1, 1))
    graph = one_population(conv, SumPool2d((3, 3), (3, 3)))
    with pytest.raises(
        UnsupportedNodeError, match="pool before a padded convolution leaves pixels"
    ):
        write(graph, tmp_path / "net.net")


def test_refuses_neurons_of_one_channel_that_differ(tmp_path: Path) -> None:
    conv = Conv2d(kernel(np.random.default_rng(7), 2, 1, 3, 3), np.zeros(2))
    graph = one_population(conv)
    r = np.ones((2, 6, 6))
    r[1, 2, 3] = 2.0
    changed = replace(graph.nodes["lif"], r=r)
    with pytest.raises(UnsupportedNodeError, match="differ in weights, tau or r"):
        write(graph.replace_nodes({"lif": changed}), tmp_path / "net.net")


def test_refuses_biases_much_finer_than_weights(tmp_path: Path) -> None:
    conv = Conv2d(np.full((1, 1, 3, 3), 127 / 128), np.array([2.0**-9]))
    with pytest.raises(UnsupportedNodeError, match="no weight exponent"):
        write(one_population(conv), tmp_path / "net.net")
