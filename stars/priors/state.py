"""SynthesisState: all that a prior may see of one synthesis step."""

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
    """One batch of synthetic images and what both networks say of it.

    Args:
        images: [B, C, H, W], normalized; gradients flow to them.
        labels: [B], the classes that the generator was asked for.
        teacher: its outputs, T = 1.
        taps: what each BatchNorm2d of the teacher saw.
        see: the student, frozen, in evaluation mode; gradients pass through the
            surrogate to the images.
    """

    images: Float[Tensor, "B C H W"]
    labels: Int[Tensor, " B"]
    teacher: Outputs
    taps: tuple[BatchNormTap, ...]
    see: Callable[[Tensor], Outputs]

    @cached_property
    def student(self) -> Outputs:
        """What the student says of the images; run once, when a prior first asks."""
        return self.see(self.images)
