"""DeepInversion: optimizes pixels directly, without a generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.objective import Term
from stars.synthesis.critic import Critic, Student, descend
from stars.teacher.teacher import Teacher


class DeepInversion:
    """Each round optimizes one batch of noise into images of the requested classes.

    A round returns `batch_size` images and ignores `harvest`.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState; with `adversarial:divergence=js` the method
            is Adaptive DeepInversion.
        config: batch size, steps, learning rate.
        shift: every step rolls the batch by up to this many pixels in each direction.

    Source: Yin et al. 2020, arXiv:1912.08795, section 3, equations 1 to 4 and 8; roll,
        mirroring and clipping in the authors' code.
    Differs: one resolution; the paper's runs last 2,000 steps and more. No mirroring if
        the teacher was trained without it.
    """

    def __init__(
        self,
        teacher: Teacher,
        priors: tuple[Term, ...],
        config: SynthesisConfig,
        *,
        shift: int = 2,
    ) -> None:
        self.config = config
        self.critic = Critic(teacher, priors, config)
        self.shift = shift
        self.flip = teacher.spec.notes.get("flip") is not False

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [B, C, H, W], and the last terms."""
        critic, spec = self.critic, self.critic.teacher.spec
        mean, deviation = (
            torch.tensor(values, device=critic.device)[:, None, None]
            for values in (spec.mean, spec.deviation)
        )
        black, white = -mean / deviation, (1 - mean) / deviation
        shape = (self.config.batch_size, *spec.input_shape)
        images = torch.randn(shape).to(critic.device).requires_grad_()
        labels = critic.labels()
        optimizer = torch.optim.Adam(
            [images], self.config.learning_rate, betas=(0.5, 0.9)
        )

        @torch.no_grad()
        def clip(*_: object) -> None:
            images.copy_(torch.maximum(torch.minimum(images, white), black))

        def loss(*, last: bool) -> tuple[Tensor, dict[str, float]]:
            rows = critic.make(self._jittered, images)
            state = critic.state(rows, labels, student)
            return critic.score(state, rows, last=last)

        optimizer.register_step_post_hook(clip)
        values = descend(self.config.steps, loss, optimizer)
        return (images.detach() * deviation + mean).clamp(0, 1), values

    def state_dict(self) -> dict[str, Any]:
        """An empty state, because every round starts from noise."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""

    def _jittered(self, images: Tensor) -> Tensor:
        down, right = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
        rolled = images.roll((down, right), (2, 3))
        return rolled.flip(3) if torch.rand(()) < 0.5 and self.flip else rolled
