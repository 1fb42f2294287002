"""A teacher's products without a zero factor, against each product checked alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from stars import teacher as teachers
from stars.config.models import DistillConfig, TeacherConfig
from stars.graph.encoding import DirectEncoding
from stars.run_directory import Run
from targets.energy_model.alternatives import NOT_AT_HAND
from targets.energy_model.teacher import measure, teacher_of
from targets.inputs import ArrayInputs, ImageInputs, first


def images_of(striped, count: int = 7) -> ImageInputs:
    return ImageInputs(striped(count).images, DirectEncoding((0.45,), (0.3,)), 4)


def run_with(folder: Path, source: str) -> Run:
    return Run.create(folder, DistillConfig(teacher=TeacherConfig(source=source)))


def test_every_product_of_two_numbers_that_are_not_zero_is_counted(
    make_teacher, striped
):
    network = make_teacher()
    seen: list[tuple[str, int, int]] = []

    def look(name, module, x):
        weight = module.weight.flatten(1)
        if isinstance(module, torch.nn.Conv2d):
            columns = functional.unfold(
                x, module.kernel_size, module.dilation, module.padding, module.stride
            )
            inside = functional.unfold(
                torch.ones_like(x[:1]),
                module.kernel_size,
                module.dilation,
                module.padding,
                module.stride,
            )
        else:
            columns, inside = x[:, :, None], torch.ones_like(x[:1, :, None])
        lit = (columns[:, None] != 0) & (weight != 0)[None, :, :, None]
        seen.append((name, int(inside.sum()) * len(weight), int(lit.sum())))

    hooks = [
        module.register_forward_pre_hook(
            lambda module, x, name=name: look(name, module, x[0])
        )
        for name, module in network.network.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    images = striped(7).images
    with torch.no_grad():
        network(network.normalize(torch.from_numpy(images)))
    for hook in hooks:
        hook.remove()
    layers = measure(network, [images[:4], images[4:]])
    found = [(layer.name, layer.macs, layer.macs_lit * 7) for layer in layers]
    assert found == [(n, macs, pytest.approx(lit)) for n, macs, lit in seen]
    assert any(layer.macs_lit < layer.macs for layer in layers[1:])


def test_the_teacher_of_a_run_is_measured_on_the_images(
    make_teacher, striped, tmp_path
):
    teachers.save(make_teacher(), tmp_path / "teacher.safetensors")
    run = run_with(tmp_path / "run", str(tmp_path / "teacher.safetensors"))
    inputs = images_of(striped)
    whole, part = teacher_of(run, inputs), teacher_of(run, first(inputs, 3))
    assert whole.reason is None
    assert whole.layers == measure(make_teacher(), [inputs.images])
    assert part.layers == measure(make_teacher(), [inputs.images[:3]])
    network = make_teacher()
    with torch.no_grad():
        scores = network(network.normalize(torch.from_numpy(inputs.images))).logits[0]
    assert whole.decisions == tuple(scores.argmax(1).tolist())
    assert part.decisions == whole.decisions[:3]


def test_what_is_not_at_hand_is_said(striped, tmp_path):
    inputs = images_of(striped)
    assert teacher_of(None, inputs) == NOT_AT_HAND
    gone = run_with(tmp_path / "a", "gone.safetensors")
    found = teacher_of(gone, inputs)
    assert found.layers is None
    assert "no such file" in found.reason
    assert teacher_of(gone, ArrayInputs(np.zeros((4, 1, 1, 8, 8)))) == NOT_AT_HAND


def test_images_that_the_teacher_does_not_take_are_not_run(striped, tmp_path):
    run = run_with(tmp_path / "run", "fashion-mnist")
    found = teacher_of(run, images_of(striped))
    assert found.layers is None
    assert "takes images of (1, 28, 28), these have (1, 8, 8)" in found.reason


def test_a_teacher_that_is_code_is_not_run(striped, tmp_path):
    run = run_with(tmp_path / "run", "antigravity:fly")
    found = teacher_of(run, images_of(striped))
    assert found.layers is None
    assert "is code, which is not run here" in found.reason
