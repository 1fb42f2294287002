"""The trained student as a target: the reference's trace, or what is off, named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stars.distillation.grid_training import BudgetProjection, to_grid
from stars.errors import DataError, FormatError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes import Array
from stars.graph.spiking_graph import SpikingGraph
from stars.networks import student_file
from stars.networks.architectures import blueprint
from stars.networks.grid_layers import layer_grids
from stars.networks.student import build, to_graph
from stars.networks.student_file import StudentFile
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_images
from targets.parity_check.comparison import compare
from targets.simulators.student import StudentTarget

ENCODING = DirectEncoding((0.45,), (0.3,))
OPTIONS = {"widths": [4, 6], "depths": [1, 1]}
STEPS = 4


def encoded(batch: int = 12) -> Array:
    images = random_images(np.random.default_rng(0), batch, (1, 8, 8))
    return ENCODING.encode(images, STEPS)


@pytest.fixture(scope="module")
def shipped(one_thread, tmp_path_factory) -> tuple[Path, SpikingGraph]:  # noqa: ARG001
    """A student on the grid, in its file, and its graph."""
    torch.manual_seed(0)
    student = build(blueprint("resnet", (1, 8, 8), 3, OPTIONS), STEPS)
    with torch.no_grad():
        for _ in range(20):
            student(torch.from_numpy(encoded(32)[0].astype(np.float32)))
    network = to_grid(student.eval(), ENCODING)
    BudgetProjection(network, ENCODING)()
    path = tmp_path_factory.mktemp("run") / "student.safetensors"
    grids = layer_grids(network)
    description = StudentFile(
        "resnet", OPTIONS, (1, 8, 8), 3, STEPS, "super", ENCODING, grids
    )
    student_file.save(network, description, path)
    return path, to_graph(network, ENCODING)


@pytest.mark.parametrize("precision", ["none", "bf16"])
def test_it_gives_the_references_trace_whatever_is_allowed_elsewhere(
    shipped, precision
):
    path, graph = shipped
    kernels = torch.backends.mkldnn.conv
    before, kernels.fp32_precision = kernels.fp32_precision, precision
    try:
        trace = StudentTarget(path).run(graph, encoded())
    finally:
        kernels.fp32_precision = before
    desired = reference.run(graph, encoded())
    assert_same_spikes(trace, desired)
    assert_same_membranes(trace, desired)
    assert all(0 < rate < 1 for rate in desired.rates().values()), desired.rates()


def test_one_weight_off_by_one_step_is_seen_with_its_place(shipped, tmp_path):
    path, graph = shipped
    network, description = student_file.load(path)
    layer = network.layers["s1b1_conv2"]
    with torch.no_grad():
        layer.weight[2, 0, 1, 1] += 2.0**layer.grid.weight_exponent
    student_file.save(network, description, tmp_path / "a.safetensors")
    trace = StudentTarget(tmp_path / "a.safetensors").run(graph, encoded())
    report = compare(trace, reference.run(graph, encoded()))
    assert not report.ok
    first = report.first_divergence
    assert first.node == "s1b1_act2"
    assert first.neuron[0] == 2
    assert 0 <= first.step < STEPS
    with pytest.raises(
        AssertionError, match=r"'s1b1_act2', step \d+, sample \d+, neur"
    ):
        assert_same_membranes(trace, reference.run(graph, encoded()))


def test_inputs_that_change_from_step_to_step_are_refused(shipped):
    path, graph = shipped
    inputs = encoded().copy()
    inputs[2, 0, 0, 0, 0] += 1
    with pytest.raises(DataError, match="change from step to step"):
        StudentTarget(path).run(graph, inputs)


def test_another_number_of_steps_is_refused(shipped):
    path, graph = shipped
    with pytest.raises(DataError, match="have 3 steps, the trained module runs for 4"):
        StudentTarget(path).run(graph, encoded()[:3])


def test_images_of_another_size_are_refused(shipped):
    path, graph = shipped
    with pytest.raises(DataError, match="images have shape"):
        StudentTarget(path).run(graph, encoded()[..., 1:])


def test_a_file_that_is_gone_is_told(shipped, tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        StudentTarget(tmp_path / "gone").run(shipped[1], encoded())
