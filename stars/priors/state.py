"""SynthesisState: what a prior can read of one synthesis step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor

from stars.networks.outputs import Outputs
from stars.teacher.teacher import BatchNormTap


@dataclass(frozen=True)
class SynthesisState:
    """One batch of synthetic images and the outputs of both networks.

    Args:
        images: [B, C, H, W], normalized; gradients flow to them.
        labels: [B], the requested classes.
        teacher: its outputs, T = 1.
        taps: the input of each BatchNorm2d of the teacher.
        see: runs the frozen student in evaluation mode; gradients pass through the
            surrogate to the images.
    """

    images: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    teacher: Outputs
    taps: tuple[BatchNormTap, ...]
    see: Callable[[Tensor], Outputs]

    @cached_property
    def student(self) -> Outputs:
        """The student's outputs; it runs once, when a prior first asks for them."""
        return self.see(self.images)
