"""A conditional generator whose label layer is reset at the start of each round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.objective import Term
from stars.synthesis.critic import ADAM_BETAS, Critic, Harvest, Student, descend
from stars.teacher.teacher import Teacher


class ForgetfulGenerator:
    """Each round resets the label layer, trains the generator, and harvests images.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState.
        config: batch size, steps, learning rate.

    Source: Tran et al. 2024 (NAYER), arXiv:2310.00258.
    Differs: noise and one-hot labels replace the text encoder; see `Generator`. The BN
        prior has no moving average.
    """

    def __init__(
        self, teacher: Teacher, priors: tuple[Term, ...], config: SynthesisConfig
    ) -> None:
        self.config = config
        self.critic = Critic(teacher, priors, config)
        self.generator = self.critic.generator(teacher.spec.classes)

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [N, C, H, W], and the last terms."""
        self.generator.forget()
        self.generator.train()
        optimizer = torch.optim.Adam(
            self.generator.parameters(), self.config.learning_rate, betas=ADAM_BETAS
        )
        harvest = Harvest(self.config)

        def loss(*, last: bool) -> tuple[Tensor, dict[str, float]]:
            noise, labels = self.critic.noise(), self.critic.labels()
            pixels = self.critic.make(self.generator, noise, labels)
            images = self.critic.normalized(pixels)
            harvest.offer(pixels)
            state = self.critic.state(images, labels, student)
            return self.critic.score(state, images, last=last)

        values = descend(self.config.steps, loss, optimizer)
        return harvest.images(self._made), values

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return dict(self.generator.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.generator.load_state_dict(state)

    def _made(self) -> Tensor:
        critic = self.critic
        return critic.make(self.generator, critic.noise(), critic.labels())
