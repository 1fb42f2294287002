"""Data-free synthesis methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from stars.outputs import Outputs
from stars.synthesis.forgetful import ForgetfulGenerator


class Synthesiser(Protocol):
    """Makes images in rounds; between rounds the student learns from them."""

    def round(
        self, student: Callable[[Tensor], Outputs]
    ) -> tuple[Tensor, dict[str, float]]:
        """Images, pixels / 255 [N, C, H, W], and the terms' last values.

        In every process all images, whether the processes shared the work or not.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        ...


METHODS: dict[str, Callable[..., Synthesiser]] = {
    "forgetful": ForgetfulGenerator,
}
