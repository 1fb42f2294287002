"""Devices: named ones are found, others refused, and bf16 only where it pays."""

from __future__ import annotations

import platform

import pytest
import torch

from stars.errors import ConfigError
from stars.runtime.device import bf16_pays, device, wide


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"'tpu' is not available; .*'cpu'"):
        device("tpu")


@pytest.mark.parametrize(
    ("avx512", "amx", "machine", "expected"),
    [
        (False, False, "x86_64", False),
        (True, False, "x86_64", True),
        (False, True, "AMD64", True),
        (False, False, "arm64", True),
    ],
)
def test_bf16_pays_where_the_processor_computes_it(
    avx512, amx, machine, expected, monkeypatch
):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert bf16_pays(torch.device("cpu")) is expected
    assert bf16_pays(torch.device("cuda"))


def test_wide_keeps_float64_and_widens_the_rest():
    for kind, expected in ((torch.bfloat16, torch.float32), (torch.float64,) * 2):
        assert wide(torch.zeros(1, dtype=kind)).dtype == expected
