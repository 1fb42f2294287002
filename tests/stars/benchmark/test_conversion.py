"""The teacher's weights in spiking neurons."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stars.benchmark.conversion import conversion_row, converted
from stars.config.models import DistillConfig
from stars.errors import ConfigError
from stars.networks.lif import DT, LIFConstants
from stars.networks.student import recorded
from stars.teacher.loading import save
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

AT_ONCE = LIFConstants(tau=DT)  # no leak between steps: v' is the current


def test_a_neuron_fires_where_the_teachers_activation_reaches_its_scale(make_teacher):
    """The first population reads the image itself, so nothing is approximate."""
    teacher = make_teacher("vgg")
    torch.manual_seed(0)
    images = 4 * torch.randn(5, 1, 8, 8)
    layer = teacher.network.layers["s1_conv1"]
    activation = layer(images)
    norm = layer.bn
    scale = float((norm.bias + 2 * norm.weight.abs()).relu().mean())
    student = converted(teacher, 2, AT_ONCE)
    with recorded(student) as seen, torch.no_grad():
        student(images)
    spikes = seen["s1_act1"][0]
    expected = (activation > scale).to(spikes.dtype)
    assert torch.equal(spikes[0], expected)
    assert 0 < float(expected.mean()) < 1


def test_weights_read_spikes_for_activations(make_teacher):
    """Spikes into weights W A give the same as A times the spikes into W."""
    teacher = make_teacher("vgg")
    student = converted(teacher, 2, AT_ONCE)
    first, second = (
        float((n.bias + 2 * n.weight.abs()).relu().mean())
        for n in (teacher.network.layers[f"s{i}_conv1"].bn for i in (1, 2))
    )
    spikes = torch.randint(2, (3, 4, 4, 4)).float()
    expected = teacher.network.layers["s2_conv1"](spikes * first) / second
    found = student.layers["s2_conv1"](spikes)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("architecture", ["resnet", "vgg"])
def test_its_figures_are_a_row(make_teacher, striped, tmp_path, architecture):
    test = striped(30)
    np.savez(tmp_path / "test.npz", images=test.images, labels=test.labels)
    save(make_teacher(architecture), tmp_path / "teacher.safetensors")
    config = DistillConfig.model_validate(
        {
            "teacher": {"source": str(tmp_path / "teacher.safetensors")},
            "test_data": str(tmp_path / "test.npz"),
        }
    )
    row = conversion_row(config)
    assert row["error"] is None
    assert 0 <= row["student_accuracy"] <= 1
    gone = DistillConfig.model_validate({"test_data": "gone.npz"})
    assert "'gone.npz': no such file" in conversion_row(gone)["error"]


def test_a_network_of_the_users_own_is_refused():
    module = torch.nn.Sequential(
        torch.nn.BatchNorm2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 3)
    )
    teacher = Teacher(module, TeacherSpec("", {}, (1, 8, 8), 3, (0.5,), (0.5,)))
    with pytest.raises(ConfigError, match="not one of the architectures of stars"):
        converted(teacher, 2, AT_ONCE)
