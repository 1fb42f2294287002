"""Fast: a generator that is trained to adapt in a few steps."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.objective import Term
from stars.synthesis.critic import (
    ADAM_BETAS,
    Cheapest,
    Critic,
    Student,
    descend,
    restore,
    states,
)
from stars.synthesis.generator import Generator
from stars.synthesis.views import shifted
from stars.teacher.teacher import Teacher


class FastGenerator:
    """Each round adapts a copy of the meta generator and its codes to one batch.

    The meta generator's gradient is the sum of the copy's gradients over all steps
    (first-order MAML), so it learns the features that all batches share. A round gives
    the `batch_size` images of the step with the smallest loss and ignores `harvest`.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState.
        config: batch size, steps, learning rate of the copy.
        code_rate: learning rate of the codes z.

    Source: Fang et al. 2022, arXiv:2112.06253, section 3.2, algorithm 1; rates, views
        and the sum over the steps in the authors' code.
    Differs: the BN prior has no moving average; the adversarial prior acts from the
        first round; the first layer is not reset half-way.
    """

    def __init__(
        self,
        teacher: Teacher,
        priors: tuple[Term, ...],
        config: SynthesisConfig,
        *,
        code_rate: float = 0.01,
    ) -> None:
        self.config = config
        self.critic = Critic(teacher, priors, config)
        self.code_rate = code_rate
        self.generator = self.critic.generator()
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(),
            config.learning_rate * config.steps,
            betas=ADAM_BETAS,
        )

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [B, C, H, W], and the last terms."""
        critic, best = self.critic, Cheapest()
        copy = deepcopy(self.generator).train()
        codes, labels = critic.noise().requires_grad_(), critic.labels()
        optimizer = torch.optim.Adam(
            copy.parameters(), self.config.learning_rate, betas=ADAM_BETAS
        )
        optimizer.add_param_group({"params": [codes], "lr": self.code_rate})

        def loss(*, last: bool) -> tuple[Tensor, dict[str, float]]:
            pixels = critic.make(copy, codes)
            images = critic.normalized(shifted(pixels))
            state = critic.state(images, labels, student)
            total, values = critic.score(state, images, last=last)
            best.offer(total, pixels)
            return total, values

        self.optimizer.zero_grad(set_to_none=True)
        optimizer.register_step_pre_hook(lambda *_: self._learn_from(copy))
        values = descend(self.config.steps, loss, optimizer)
        self.optimizer.step()
        return best.images(), values

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return states(generator=self.generator, optimizer=self.optimizer)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        restore(state, generator=self.generator, optimizer=self.optimizer)

    def _learn_from(self, copy: Generator) -> None:
        for mine, theirs in zip(
            self.generator.parameters(), copy.parameters(), strict=True
        ):
            if theirs.grad is not None:
                so_far = 0 if mine.grad is None else mine.grad
                mine.grad = so_far + theirs.grad
