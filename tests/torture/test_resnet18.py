"""A residual network of ResNet-18's topology, CIFAR's shape: exact in Lava fixed_pt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from export.from_nir import read
from export.to_nir import write
from stars.graph.encoding import DirectEncoding
from stars.grid.certificate import certify
from stars.grid.quantization import quantize
from stars.networks.architectures import blueprint
from stars.networks.student import build, to_graph
from stars.testing.random_graphs import calibrate, random_inputs
from targets import table
from targets.inputs import ArrayInputs
from targets.parity_check.run import run_parity

IMAGES, CLASSES = 8, 10
ENCODING = DirectEncoding((0.491, 0.482, 0.447), (0.247, 0.243, 0.262), exponent=-4)
NARROW = {"widths": [8, 12, 16, 24], "depths": [2, 2, 2, 2]}


@pytest.mark.torture
@pytest.mark.lava
@pytest.mark.usefixtures("lava_python", "one_thread")
def test_eight_images_are_exact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    student = build(blueprint("resnet", (3, 32, 32), CLASSES, NARROW), 4).eval()
    graph = quantize(calibrate(rng, to_graph(student, ENCODING), on_grid=False))
    write(graph, tmp_path / "student.nir")
    graph = read(tmp_path / "student.nir")
    assert len(graph.spiking) == 17
    assert certify(graph).ok
    targets = [table.load(name) for name in ("lava-fixed", "loihi")]
    report = run_parity(graph, ArrayInputs(random_inputs(rng, graph, IMAGES)), targets)
    assert min(report.rates.values()) > 0.01
    assert report.ok
    expected = IMAGES * graph.steps * graph.neuron_count()
    assert {t.neuron_steps for t in report.targets} == {expected}
