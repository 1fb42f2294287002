"""A spiking population over all steps, with one forward and one backward kernel.

The forward pass stores only the currents. The backward pass recomputes the membranes
and adds the terms of the gradient in the order of Norse's graph. Both passes are
bit-exact with `stars.networks.lif.norse_loop` on finite currents, which a test checks.
torch compiles each pass; without a compiler the same functions run uncompiled.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import torch
from torch import Tensor

from stars.runtime.compiling import compiled
from stars.runtime.device import wide

Surrogate = Callable[[Tensor, Tensor, float], Tensor]  # gradient of z, u, slope


def super_spike(gradient: Tensor, u: Tensor, _: float) -> Tensor:
    """The gradient times 1 / (|u| + 1)^2."""
    return gradient / (u.abs() + 1.0).pow(2)


def triangle(gradient: Tensor, u: Tensor, slope: float) -> Tensor:
    """The gradient times slope max(0, 1 - |u|)."""
    return gradient * slope * torch.relu(1 - u.abs())


def tanh(gradient: Tensor, u: Tensor, slope: float) -> Tensor:
    """The gradient times the derivative of tanh at slope u."""
    return gradient * (1 - (u * slope).tanh().pow(2))


def circ(gradient: Tensor, u: Tensor, slope: float) -> Tensor:
    """The gradient times slope^3 / (slope^2 + u^2)^(3/2), as Norse writes it."""
    squares = slope**2 + u.pow(2)
    bracket = -(u.pow(2) / (2 * squares.pow(1.5))) + 1 / (2 * squares.sqrt())
    return gradient * bracket * 2 * slope


def heavi_erfc(gradient: Tensor, u: Tensor, slope: float) -> Tensor:
    """The gradient times 2 exp(-(slope u)^2) / sqrt(pi)."""
    root = torch.as_tensor(torch.pi).sqrt()
    return (2 * torch.exp(-((slope * u).pow(2)))) / root * gradient


SURROGATES: dict[str, Surrogate] = {
    "super": super_spike,
    "triangle": triangle,
    "tanh": tanh,
    "circ": circ,
    "heavi_erfc": heavi_erfc,
}
# A compiler's tanh, powers and exponentials differ from torch's in the last bit.
COMPILED_SURROGATES = ("super", "triangle")


@dataclass(frozen=True)
class Cell:
    """The constants that a kernel is compiled for.

    Args:
        k: dt / tau.
        k_synapse: dt / tau_synapse, None for a current that is not filtered.
        threshold: volts.
        surrogate: a row of SURROGATES.
        slope: of the surrogate.
        steps: T.
    """

    k: float
    k_synapse: float | None
    threshold: float
    surrogate: str
    slope: float
    steps: int


class Population(torch.autograd.Function):
    """Spikes [T, N] for a sum of currents [T, N]; a current [N] is held for T steps."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, cell: Cell, dtype: torch.dtype, *currents: Tensor
    ) -> Tensor:
        ctx.save_for_backward(*currents)
        ctx.cell = cell
        return forward_kernel(cell, dtype)(*over_time(currents, cell.steps))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: D102
        currents = ctx.saved_tensors
        rows = over_time(currents, ctx.cell.steps)
        held = currents[0].ndim == 1
        of_sum = backward_kernel(ctx.cell, held=held)(gradient.contiguous(), *rows)
        return None, None, *(of_sum.to(c.dtype) for c in currents)


def over_time(currents: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Currents [T, N]; a held current [N] is repeated.

    It is copied, because a kernel that reads one row T times takes minutes to compile.
    """
    return [
        c.detach() if c.ndim == 2 else c.detach().repeat(steps, 1) for c in currents
    ]


@cache
def forward_kernel(cell: Cell, dtype: torch.dtype) -> Callable[..., Tensor]:
    """Currents [T, N] -> spikes of `dtype`."""

    def run(*currents: Tensor) -> Tensor:
        x = total(currents)
        fired = [v > cell.threshold for v in membranes(x, cell)]
        # Convert each step by way of the currents' type: stacking booleans, or making
        # them bfloat16 directly, compiles to kernels that are 7 to 30 times slower.
        return torch.stack([z.to(x.dtype).to(dtype) for z in fired])

    return compiled(run)


@cache
def backward_kernel(cell: Cell, *, held: bool) -> Callable[..., Tensor]:
    """(Gradient of the spikes, currents) -> gradient of the currents' sum.

    For held currents it is summed over the steps in the order of Norse's graph.
    """

    def run(gradient: Tensor, *currents: Tensor) -> Tensor:
        x = total(currents)
        gradients = current_gradients(x, gradient.to(x.dtype), cell)
        if held:
            return reduce(operator.add, gradients)
        return torch.stack(gradients[::-1])

    return compiled(run) if cell.surrogate in COMPILED_SURROGATES else run


def total(currents: Sequence[Tensor]) -> Tensor:
    """The sum of the currents in float32 or wider, also for bfloat16 currents."""
    return reduce(operator.add, map(wide, currents))


def membranes(currents: Tensor, cell: Cell) -> list[Tensor]:
    """The membranes [N] before the reset, of each of T steps.

    LIFBox: v' = v + k (x - v). With a synapse: i' = i + x, v' = v + k (i' - v),
    i = i' - k_synapse i'.
    """
    v = torch.zeros_like(currents[0])
    i = torch.zeros_like(v)
    found = []
    for t in range(cell.steps):
        x = currents[t]
        if cell.k_synapse is not None:
            x = i + x
            i = x + -cell.k_synapse * x
        v = v + cell.k * (x - v)
        found.append(v)
        v = torch.where(v > cell.threshold, 0.0, v)
    return found


def current_gradients(currents: Tensor, gradient: Tensor, cell: Cell) -> list[Tensor]:
    """The gradient of each step's current [N], from the last step to the first.

    As in Norse, gradients pass through the reset: d v / d z = -v'.
    """
    surrogate = SURROGATES[cell.surrogate]
    of_v = torch.zeros_like(currents[0])
    of_i = torch.zeros_like(of_v)
    found = []
    for t, v in reversed(list(enumerate(membranes(currents, cell)))):
        of_z = gradient[t] - of_v * v
        of_v = torch.where(v > cell.threshold, 0.0, of_v) + surrogate(
            of_z, v - cell.threshold, cell.slope
        )
        of_x = of_v * cell.k
        of_v = of_v - of_x
        if cell.k_synapse is not None:
            of_x = of_i + -cell.k_synapse * of_i + of_x
            of_i = of_x
        found.append(of_x)
    return found
