"""Convolutions of spikes by oneDNN's 8-bit kernels, which are part of torch.

They copy no windows; a whole run takes about half the time that it takes with BLAS.
They are used only if the process has imported torch, as `stars parity` has: importing
it takes longer than most runs of the emulator. Sums have 32 bits. A kernel is used only
if it gives the same result as the matrix product in a trial; some versions of torch and
some processors have none.
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
    """The torch module, or None if nothing has imported it."""
    return sys.modules.get("torch")


@contextmanager
def one_thread_each() -> Iterator[Callable[[], None]]:
    """A function that every convolving thread calls first; restores torch's threads.

    The emulator has one thread for each core, and each would start that many again.
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
        packed: its weights in oneDNN's format.
        scales, zeros: one for each output channel.
        torch: the torch module.
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
    """`kernel` as a oneDNN convolution; None where oneDNN cannot compute it.

    Args:
        kernel: integer weights in -127..127.
        form: arithmetic; only spikes with float32 results are supported.
        sure: another form of the same product, compared on random spikes.
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
    """Stride, padding, dilation and groups in torch's order."""
    return list(kernel.stride), list(kernel.padding), [1, 1], 1
