"""A generator that trains through all rounds: DAFL and DFQ, by their priors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.objective import Term
from stars.synthesis.critic import (
    ADAM_BETAS,
    Critic,
    Harvest,
    Student,
    descend,
    restore,
    states,
)
from stars.teacher.teacher import Teacher


class LastingGenerator:
    """An unconditional generator that trains, with its optimizer, through all rounds.

    No class is requested: the label of an image is the teacher's prediction, and the
    prior `balance` keeps the classes equally frequent.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState.
        config: batch size, steps, learning rate.

    Source: DAFL: Chen et al. 2019, arXiv:1904.01186, section 3 (one-hot, activation and
        information entropy loss). DFQ: Choi et al. 2020, arXiv:2005.04136, section 3
        (adversarial, BN statistics, and the same two entropies).
    Differs: in both papers, 1 to 10 steps of the student on the newest images follow
        each step of the generator; here the student draws from a bank of all rounds'
        images. DFQ trains several generators; here it is one.
    """

    def __init__(
        self, teacher: Teacher, priors: tuple[Term, ...], config: SynthesisConfig
    ) -> None:
        self.config = config
        self.critic = Critic(teacher, priors, config)
        self.generator = self.critic.generator()
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(), config.learning_rate, betas=ADAM_BETAS
        )

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [N, C, H, W], and the last terms."""
        self.generator.train()
        harvest = Harvest(self.config)

        def loss(*, last: bool) -> tuple[Tensor, dict[str, float]]:
            pixels = self._made()
            images = self.critic.normalized(pixels)
            harvest.offer(pixels)
            state = self.critic.state(images, None, student)
            return self.critic.score(state, images, last=last)

        values = descend(self.config.steps, loss, self.optimizer)
        return harvest.images(self._made), values

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return states(generator=self.generator, optimizer=self.optimizer)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        restore(state, generator=self.generator, optimizer=self.optimizer)

    def _made(self) -> Tensor:
        return self.critic.make(self.generator, self.critic.noise())
