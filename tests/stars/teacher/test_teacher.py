"""The frozen teacher: it is never trained, and its taps hold its BN inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stars.teacher.teacher import Teacher

IMAGES = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


@pytest.fixture(scope="module")
def teacher(make_teacher) -> Teacher:
    return make_teacher()


def test_the_checksum_sees_one_weight(teacher, make_teacher):
    other = make_teacher()
    assert other.checksum() == teacher.checksum()
    other.network.state_dict()["layers.head.bias"][0] += 1e-3
    assert other.checksum() != teacher.checksum()


# Frozen, and tapped


def test_it_never_learns(teacher):
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    before = teacher.checksum()
    images = IMAGES.clone().requires_grad_()
    teacher(images).logits.sum().backward()
    assert images.grad.abs().max() > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert teacher.checksum() == before


def test_taps_see_what_each_batch_norm_is_given(teacher):
    with teacher.tapped() as taps:
        teacher(IMAGES)
    norms = [m for m in teacher.network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {id(tap.layer) for tap in taps} == {id(norm) for norm in norms}
    stem = teacher.network.layers["stem"]
    assert taps[0].layer is stem.bn
    assert torch.equal(taps[0].inputs, stem.conv(IMAGES))


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_it_answers_and_is_tapped_as_before(make_teacher, bf16):
    before = make_teacher()
    after = before.compiled()
    assert after.checksum() == before.checksum()
    found = []
    for teacher in (before, after):
        images = IMAGES.clone().requires_grad_()
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
        with autocast, teacher.tapped() as taps:
            outputs = teacher(images)
        loss = outputs.logits.square().sum() + taps[1].inputs.float().square().mean()
        loss.backward()
        found.append((outputs, [tap.inputs.float() for tap in taps], images.grad))
    tolerance = {"rtol": 0.05, "atol": 0.05} if bf16 else {"rtol": 1e-4, "atol": 1e-5}
    (expected, inputs, gradient), (outputs, ours, of_images) = found
    torch.testing.assert_close(outputs.logits, expected.logits, **tolerance)
    torch.testing.assert_close(outputs.maps, expected.maps, **tolerance)
    torch.testing.assert_close(ours, inputs, **tolerance)
    scale = gradient.abs().max()
    torch.testing.assert_close(of_images / scale, gradient / scale, **tolerance)


def test_no_hook_stays(teacher):
    def seen() -> list:
        with teacher.tapped() as taps:
            raise_in_forward(taps)
        return taps

    def raise_in_forward(taps: list) -> None:
        teacher(IMAGES)
        assert taps
        teacher(torch.zeros(1, 2, 8, 8))

    with pytest.raises(ValueError, match="images have shape"):
        seen()
    hooks = [len(m._forward_pre_hooks) for m in teacher.modules()]
    assert sum(hooks) == 0


def test_normalize_is_that_of_its_training(teacher):
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    expected = [(0 - 0.45) / 0.3, (0.2 - 0.45) / 0.3, (1 - 0.45) / 0.3]
    assert teacher.normalize(pixels).flatten().tolist() == pytest.approx(expected)
