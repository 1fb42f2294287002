"""The trained module against the file that was made from it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.from_nir import read
from export.to_nir import write
from stars.distillation.grid_training import to_grid
from stars.errors import ConfigError, DataError, FormatError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.networks.architectures import blueprint
from stars.networks.grid_layers import layer_grids
from stars.networks.student import build, to_graph
from stars.networks.student_file import StudentFile, save
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_images
from targets import table
from targets.inputs import ImageInputs
from targets.parity_check.lane import Options
from targets.parity_check.run import run_parity
from targets.simulators.student import StudentTarget

ENCODING = DirectEncoding((0.3,), (0.35,), -5)
OPTIONS = {"widths": [3, 4], "depths": [1, 1], "stem_stride": 2}


def save_student(folder: Path, *, off_by_one_step: bool = False) -> Path:
    """A student on the grid, with fresh weights; its files are in `folder`."""
    torch.manual_seed(0)
    student = build(blueprint("resnet", (1, 8, 8), 4, OPTIONS), 4).train()
    images = random_images(np.random.default_rng(1), 16, (1, 8, 8))
    held = torch.from_numpy(ENCODING.encode(images, 1)[0].astype(np.float32))
    with torch.no_grad():
        for _ in range(40):  # until BatchNorm knows its inputs
            student(held)
    network = to_grid(student.eval(), ENCODING)
    grids = layer_grids(network)
    name = list(grids)[1]
    if off_by_one_step:
        weight = network.layers[name].weight
        with torch.no_grad():
            at = np.unravel_index(int(weight.abs().argmax()), weight.shape)
            weight[at] -= weight[at].sign() * 2.0 ** grids[name].weight_exponent
    file = StudentFile("resnet", OPTIONS, (1, 8, 8), 4, 4, "super", ENCODING, grids)
    folder.mkdir()
    save(network.eval(), file, folder / "student.safetensors")
    write(to_graph(network, ENCODING), folder / "student.nir")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("runs") / "good")


@pytest.fixture(scope="module")
def inputs() -> ImageInputs:
    images = random_images(np.random.default_rng(0), 20, (1, 8, 8))
    return ImageInputs(images, ENCODING, 4)


def test_the_student_its_file_and_every_quick_target_are_one(folder, inputs):
    graph = read(folder / "student.nir")
    own = StudentTarget(folder / "student.safetensors")
    others = [table.load(name) for name in ("norse", "loihi")]
    report = run_parity(graph, inputs, [own, *others])
    assert report.ok
    for target in report.targets:
        found = target
        assert (
            found.membrane_steps == found.neuron_steps == 20 * 4 * graph.neuron_count()
        )
    assert report.rates_outside == ()


def test_the_students_layers_run_on_the_spikes_that_they_are_given(folder, inputs):
    graph = read(folder / "student.nir")
    own = StudentTarget(folder / "student.safetensors")
    x = inputs.take(0, 6)
    given = reference.run(graph, x[:, ::-1])
    trace, desired = own.run(graph, x, given), reference.run(graph, x, given)
    assert_same_spikes(trace, desired)
    assert_same_membranes(trace, desired)


def test_other_weights_under_the_student_are_found(folder, inputs, tmp_path):
    graph = read(folder / "student.nir")
    broken = save_student(tmp_path / "broken", off_by_one_step=True)
    own = StudentTarget(folder / "student.safetensors")
    other = StudentTarget(broken / "student.safetensors")
    report = run_parity(graph, inputs, [own], Options(substitutes={"student": other}))
    (target,) = report.targets
    assert not report.ok
    assert target.substituted
    assert target.first_divergence.node in graph.neurons[1:]


def test_a_graph_under_the_student_is_refused_for_it_would_not_be_run(folder, inputs):
    graph = read(folder / "student.nir")
    own = StudentTarget(folder / "student.safetensors")
    with pytest.raises(ConfigError, match="runs its own weights"):
        run_parity(graph, inputs, [own], Options(substitutes={"student": graph}))


def test_inputs_that_change_are_refused(folder):
    graph = read(folder / "student.nir")
    with pytest.raises(DataError, match="change from step to step"):
        StudentTarget(folder / "student.safetensors").run(
            graph, np.arange(4 * 64.0).reshape(4, 1, 1, 8, 8)
        )


def test_a_damaged_student_is_refused(folder, inputs, tmp_path):
    content = (folder / "student.safetensors").read_bytes()
    (tmp_path / "student.safetensors").write_bytes(content[:-100])
    graph = read(folder / "student.nir")
    with pytest.raises(FormatError, match="not a student's file, or damaged"):
        StudentTarget(tmp_path / "student.safetensors").run(graph, inputs.take(0, 2))
