"""Convolutions of spikes by oneDNN's 8-bit kernels, which torch brings.

They copy no windows, so that a layer takes two thirds of the time of a matrix product.
They serve where the process has torch already, as that of `stars parity` has: to import
it would take longer than most runs of the emulator. Sums have 32 bits. A convolution
that does not give what the matrix product gives, or cannot be made by this torch on
this processor, is not used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from targets.loihi.convolutions import Kernel
from targets.loihi.multiplication import Arithmetic, Values

TRIAL_IMAGES = 2


def loaded_torch() -> Any:
    """The module, or None where nothing has imported it."""
    return sys.modules.get("torch")


@contextmanager
def one_thread_each() -> Iterator[Callable[[], None]]:
    """What each thread that convolves must call first; torch's count is kept.

    The emulator has a thread for each core; each would start as many of torch's own.
    """
    torch = loaded_torch()
    if torch is None:
        yield lambda: None
        return
    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False)
class SpikeConvolution:
    """A convolution of bool [..., H W C] -> float32 [..., H' W' O].

    Args:
        kernel: of the convolution.
        packed: its weights as oneDNN wants them.
        scales, zeros: of each of its output channels.
        torch: the module.
    """

    kernel: Kernel
    packed: Any
    scales: Any
    zeros: Any
    torch: Any

    def __call__(self, x: Values) -> Values:
        """See `Product`."""
        torch = self.torch
        channels, height, width = self.kernel.source
        pixels = np.ascontiguousarray(x).view(np.uint8)
        images = torch.from_numpy(pixels.reshape(-1, height, width, channels))
        found = torch.ops.onednn.qconv_pointwise(
            images.permute(0, 3, 1, 2),
            *(1.0, 0),  # scale and zero of the spikes
            *(self.packed, self.scales, self.zeros, None),
            *geometry(self.kernel),
            *(1.0, 0, torch.float32),  # scale, zero and type of the result
            *("none", [], ""),
        )
        out: Values = found.permute(0, 2, 3, 1).contiguous().numpy()
        return out.reshape(*x.shape[:-1], -1)


def convolution(
    kernel: Kernel, form: Arithmetic, sure: Callable[[Values], Values]
) -> SpikeConvolution | None:
    """`kernel` for oneDNN; None where that cannot be had.

    Args:
        kernel: integer weights in -127..127.
        form: what is computed with; nothing but spikes and float32 results will do.
        sure: another form of the same product, to compare with on random spikes.
    """
    torch = loaded_torch()
    if torch is None or not form.spikes or form.kind is not np.float32:
        return None
    spikes = np.random.default_rng(0).random((TRIAL_IMAGES, math.prod(kernel.source)))
    trial = spikes < 0.5
    weights = np.ascontiguousarray(kernel.weights.transpose(3, 2, 0, 1), np.int8)
    scales = torch.full((kernel.target[0],), form.factor)
    zeros = torch.zeros(kernel.target[0], dtype=torch.int64)
    try:
        packed = torch.ops.onednn.qconv_prepack(
            torch.from_numpy(weights), scales, *(1.0, 0), *geometry(kernel)
        )
        made = SpikeConvolution(kernel, packed, scales, zeros, torch)
        equal = np.array_equal(made(trial), sure(trial))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return None
    return made if equal else None


def geometry(kernel: Kernel) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups, as torch has them."""
    return list(kernel.stride), list(kernel.padding), [1, 1], 1
