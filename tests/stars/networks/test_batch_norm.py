"""The student's fused BatchNorm2d computes what torch's does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stars.networks.batch_norm import BatchNorm2d, fuse


def images(dtype: torch.dtype) -> Tensor:
    made = torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    made = 3 * made + torch.linspace(-20, 20, 5)[:, None, None]
    return made.to(dtype).contiguous(memory_format=torch.channels_last)


def pair(dtype: torch.dtype) -> tuple[nn.BatchNorm2d, BatchNorm2d]:
    """Torch's layer and ours, with the same parameters and statistics."""
    theirs = nn.BatchNorm2d(5).to(dtype)
    generator = torch.Generator().manual_seed(1)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(5, generator=generator) + 0.5)
    ours = BatchNorm2d(5, widens=True).to(dtype)
    ours.load_state_dict(theirs.state_dict())
    fuse(ours)
    return theirs, ours


def passed(layer: nn.BatchNorm2d, x: Tensor, *, training: bool) -> dict[str, Tensor]:
    """All results and changed buffers of one pass."""
    layer.train(training)
    x = x.clone().requires_grad_()
    y = layer(x)
    (y.square() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    statistics = {name: b.clone() for name, b in layer.named_buffers()}
    return {
        "y": y.detach(),
        "of_x": x.grad,
        "of_weight": layer.weight.grad,
        "of_bias": layer.bias.grad,
        **statistics,
    }


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)]
)
def test_it_is_torchs(training, dtype, tolerance):
    theirs, ours = (passed(n, images(dtype), training=training) for n in pair(dtype))
    assert theirs.keys() == ours.keys()
    for name, expected in theirs.items():
        torch.testing.assert_close(
            ours[name], expected, rtol=tolerance, atol=tolerance, msg=name
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns
@pytest.mark.parametrize("training", [True, False])
def test_compiled_it_is_torchs(training):
    theirs, ours = (
        passed(n, images(torch.float64), training=training) for n in pair(torch.float64)
    )
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, msg=name)


@pytest.mark.usefixtures("no_compiler")
def test_it_reads_bfloat16_and_loses_nothing_more():
    theirs, ours = pair(torch.float32)
    x = images(torch.bfloat16)
    expected, found = (
        passed(theirs, x.float(), training=True),
        passed(ours, x, training=True),
    )
    assert found["y"].dtype == torch.float32
    assert found["of_x"].dtype == torch.bfloat16
    torch.testing.assert_close(found["y"], expected["y"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found["of_x"].float(), expected["of_x"], rtol=1e-2, atol=1e-3
    )


@pytest.mark.usefixtures("no_compiler")
def test_frozen_it_gives_parameters_no_gradient():
    _, ours = pair(torch.float32)
    ours.eval().requires_grad_(requires_grad=False)
    x = images(torch.float32).requires_grad_()
    ours(x).sum().backward()
    assert ours.weight.grad is None
    assert x.grad.abs().min() > 0
