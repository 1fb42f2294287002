"""A student's file returns the student bit-exactly, or is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from stars.distillation.grid_training import to_grid
from stars.errors import FormatError
from stars.graph.encoding import DirectEncoding
from stars.networks import student_file
from stars.networks.architectures import blueprint
from stars.networks.grid_layers import layer_grids
from stars.networks.lif import LIFConstants
from stars.networks.student import build, lif_layers, to_graph
from stars.networks.student_file import StudentFile
from stars.testing.random_graphs import random_images

pytestmark = pytest.mark.usefixtures("one_thread")
ENCODING = DirectEncoding((0.45,), (0.3,))
OPTIONS = {"widths": [4, 6], "depths": [1, 1]}
STEPS = 3


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


# student.safetensors


def described(grids) -> StudentFile:
    return StudentFile(
        architecture="resnet",
        options=OPTIONS,
        input_shape=(1, 8, 8),
        classes=3,
        steps=STEPS,
        surrogate="triangle",
        encoding=ENCODING,
        grids=grids,
    )


@pytest.mark.parametrize("on_grid", [False, True])
def test_a_file_gives_back_the_student_bit_for_bit(tmp_path, on_grid):
    network = student("resnet")
    if on_grid:
        network = to_grid(network, ENCODING).eval()
    file = described(layer_grids(network))
    assert bool(file.grids) == on_grid
    student_file.save(network, file, tmp_path / "a.safetensors")
    loaded, again = student_file.load(tmp_path / "a.safetensors")
    assert again == file
    assert not loaded.training
    assert {layer.constants for layer in lif_layers(loaded).values()} == {
        LIFConstants(surrogate="triangle")
    }
    with torch.no_grad():
        assert torch.equal(loaded(inputs()).logits, network(inputs()).logits)
    assert to_graph(loaded, ENCODING) == to_graph(network, ENCODING)


def test_a_file_that_is_no_students_is_told(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FormatError, match="No such file"):
        student_file.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(FormatError, match="not a student's file, or damaged"):
        student_file.load(path)
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(FormatError, match="not a student's file"):
        student_file.load(path)


def test_a_header_without_texts_is_refused(tmp_path):
    header = b'{"__metadata__": null}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FormatError, match="not a student's file"):
        student_file.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "vgg"},
        {"architecture": "alexnet"},
        {"classes": 4},
        {"surrogate": "ramp"},
        {"input_shape": (3, 8, 8)},
        {"classes": 2**40},
        {"options": {"widths": [2**31, 4], "depths": [1, 1]}},
        {"options": {"widths": [4, 6], "depths": [10**9, 1]}},
        {"steps": "four"},
    ],
)
def test_a_description_that_does_not_fit_the_weights_is_refused(tmp_path, changes):
    network = student("resnet")
    file = replace(described({}), **changes)
    student_file.save(network, file, tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match="not a student's file, or damaged"):
        student_file.load(tmp_path / "a.safetensors")
