"""The emulator's products: every form gives what the sparse matrix gives."""

from __future__ import annotations

import platform
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from stars.graph.nodes import Conv2d, SumPool2d
from stars.grid.convolution import convolution_of, geometry_of
from stars.grid.unrolling import unroll
from stars.testing.random_graphs import random_graph, random_inputs
from targets.loihi import onednn as loihi_onednn, products
from targets.loihi.emulator import LoihiEmulator
from targets.loihi.multiplication import Arithmetic
from targets.loihi.onednn import SpikeConvolution
from targets.loihi.products import Convolution, Dense, Sparse, channels_last, product_of

RNG = np.random.default_rng(0)


def conv(out, channels, kernel, **options):
    weight = RNG.integers(-127, 128, (out, channels * kernel[0] * kernel[1]))
    weight = weight.reshape(out, channels, *kernel).astype(float)
    return Conv2d(weight, np.zeros(out), **options)


def matrix_of(node, shape):
    """(integer weights [N target, N source], shape of the target, convolution)."""
    unrolled, _ = unroll(node, shape)
    weights = csr_array(unrolled.at(0))
    convolution = convolution_of(geometry_of(node, shape), weights)
    return weights, node.output_shape(shape), convolution


FORMS = [
    Arithmetic(np.float32, 2.0**8),
    Arithmetic(np.float64, 2.0**8),
    Arithmetic(np.float32, 2.0**8, spikes=True),
]


def assert_multiplies(weights, source, target, convolution, expected_form=None):
    """In every arithmetic the product is what integers give."""
    for form in FORMS:
        product = product_of(weights, source, target, form, convolution)
        assert expected_form is None or isinstance(product, expected_form)
        x = RNG.integers(-127, 128, (2, 3, weights.shape[1]))
        x = x > 0 if form.spikes else x
        expected = (weights @ x.reshape(6, -1).T.astype(np.int64)).T * 2**8
        result = product(x[..., channels_last(source)])
        assert result.dtype == form.kind
        expected = expected.reshape(2, 3, -1)[..., channels_last(target)]
        np.testing.assert_array_equal(result, expected)


CONVOLUTIONS = {
    "padded": (conv(4, 2, (3, 3), padding=(1, 1)), (2, 9, 8)),
    "unpadded": (conv(3, 2, (5, 3)), (2, 9, 8)),
    "strided": (conv(4, 3, (3, 3), stride=(2, 2), padding=(1, 1)), (3, 14, 14)),
    "oblong": (conv(4, 1, (3, 5), stride=(2, 1), padding=(0, 2)), (1, 11, 9)),
    "pointwise": (conv(5, 3, (1, 1)), (3, 6, 6)),
    "skipping": (conv(5, 3, (1, 1), stride=(2, 2)), (3, 7, 7)),
    "dilated": (conv(2, 2, (3, 3), dilation=(2, 3), padding=(2, 3)), (2, 9, 12)),
    "grouped": (conv(4, 2, (3, 3), groups=2, padding=(1, 1)), (4, 6, 6)),
    "wider than its image": (conv(2, 1, (5, 5), padding=(2, 2)), (1, 3, 3)),
    "all pixels": (conv(6, 2, (7, 7)), (2, 7, 7)),
    "sum pool": (SumPool2d((2, 2), (2, 2)), (3, 9, 8)),
}


@pytest.fixture(params=["torch", "no torch"])
def convolutions(request, monkeypatch):
    """The forms of a convolution, with torch in the process and without."""
    if request.param == "torch":
        return Convolution | SpikeConvolution
    monkeypatch.setattr(loihi_onednn, "loaded_torch", lambda: None)
    return Convolution


@pytest.fixture
def nothing_else_pays(monkeypatch):
    monkeypatch.setattr(products, "DENSE_LIMIT", 0)
    monkeypatch.setattr(products, "SPARSE_COST", 1e9)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_multiplies_as_its_unrolled_matrix(name):
    node, source = CONVOLUTIONS[name]
    weights, target, convolution = matrix_of(node, source)
    assert_multiplies(weights, source, target, convolution)


@pytest.mark.usefixtures("nothing_else_pays")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_multiply_alike_with_torch_and_without(name, convolutions):
    node, source = CONVOLUTIONS[name]
    weights, target, convolution = matrix_of(node, source)
    assert_multiplies(weights, source, target, convolution, convolutions)


def large():
    """(weights, source, target, convolution) of one that oneDNN takes."""
    node, source = conv(32, 16, (3, 3), padding=(1, 1)), (16, 14, 14)
    weights, target, convolution = matrix_of(node, source)
    return weights, source, target, convolution


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN's kernels are x86's")
def test_torch_convolves_spikes_and_nothing_else():
    weights, source, target, convolution = large()
    for form in FORMS:
        product = product_of(weights, source, target, form, convolution)
        assert isinstance(product, SpikeConvolution) == form.spikes


def wrong_by_one(*arguments):
    return torch.ops.onednn.qconv_pointwise(*arguments) + 1


def missing(*_):
    raise NotImplementedError


@pytest.mark.parametrize("kernel", [wrong_by_one, missing])
def test_a_torch_that_convolves_otherwise_is_not_used(kernel, monkeypatch):
    onednn = SimpleNamespace(
        qconv_prepack=torch.ops.onednn.qconv_prepack, qconv_pointwise=kernel
    )
    stand_in = SimpleNamespace(**{**vars(torch), "ops": SimpleNamespace(onednn=onednn)})
    monkeypatch.setattr(loihi_onednn, "loaded_torch", lambda: stand_in)
    assert_multiplies(*large(), Convolution)


def test_a_run_leaves_torch_its_threads():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        LoihiEmulator().run(graph, random_inputs(rng, graph, 2))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_cheapest_form_is_taken():
    convolution = Convolution | SpikeConvolution
    for out, image, form in ((8, 12, convolution), (2, 3, Dense)):
        node = conv(out, 4, (3, 3), padding=(1, 1))
        weights, target, convolution = matrix_of(node, (4, image, image))
        assert_multiplies(weights, (4, image, image), target, convolution, form)
    identity = csr_array(np.eye(400, dtype=np.int32))
    assert_multiplies(identity, (400,), (400,), None, Sparse)


def test_a_matrix_of_zeros_multiplies():
    empty, shape = csr_array((18, 18), dtype=np.int32), (2, 3, 3)
    assert_multiplies(empty, shape, shape, None)
