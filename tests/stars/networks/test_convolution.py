"""Convolutions: the same values and gradients as torch's, and no corrupted memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from stars.networks.convolution import conv2d


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 2, 0), (3, 2, 1), (1, 1, 0)]
)
def test_values_and_gradients_are_those_of_torch(kernel, stride, padding):
    torch.manual_seed(0)
    x = torch.randn(4, 8, 9, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(16, 8, kernel, kernel, dtype=torch.float64, requires_grad=True)
    found = conv2d(x, weight, None, stride, padding)
    expected = F.conv2d(x, weight, None, stride, padding)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, (x, weight), upstream),
        torch.autograd.grad(expected, (x, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_training_a_narrow_network_leaves_the_heap_whole():
    """With oneDNN's kernel, AVX2 machines abort within about 50 steps."""
    script = """
import torch
from stars.networks.convolution import conv2d
torch.manual_seed(0)
for step in range(150):
    x = torch.randn(24, 3, 8, 8).to(memory_format=torch.channels_last)
    w = torch.randn(4, 3, 1, 1).to(memory_format=torch.channels_last).requires_grad_()
    junk = [bytearray((step * 37 + j * 13) % 1500 + 1) for j in range(60)]
    conv2d(x, w, None, 2, 0).sum().backward()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
