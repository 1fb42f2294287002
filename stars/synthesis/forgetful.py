"""A conditional generator whose label layer forgets at the start of every round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stars.config import SynthesisConfig
from stars.distributed import gathered, gathered_outputs, share, sum_gradients
from stars.generators import ConditionalGenerator
from stars.global_norm import globally_normalised
from stars.outputs import Outputs
from stars.priors import SynthesisState
from stars.teacher import Teacher
from stars.terms import Term, weighted_sum


class ForgetfulGenerator:
    """Each round: forget the label layer, train for some steps, harvest images.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState.
        config: batch size, steps, learning rate.

    Source: Tran et al. 2024 (NAYER), arXiv:2310.00258.
    Differs: noise and one-hot labels replace the text encoder; see the generator.
    """

    def __init__(
        self, teacher: Teacher, priors: tuple[Term, ...], config: SynthesisConfig
    ) -> None:
        self.teacher = teacher
        self.priors = priors
        self.config = config
        self.device = next(teacher.parameters()).device
        self.generator = ConditionalGenerator(
            teacher.spec.input_shape,
            teacher.spec.classes,
            latent=config.latent,
            width=config.width,
        ).to(self.device)
        self.generator.to(memory_format=torch.channels_last)
        globally_normalised(self.generator)

    def round(
        self, student: Callable[[Tensor], Outputs]
    ) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [N, C, H, W], and the last terms."""
        self.generator.forget()
        self.generator.train()
        optimiser = torch.optim.Adam(
            self.generator.parameters(), self.config.learning_rate, betas=(0.5, 0.999)
        )
        values: dict[str, float] = {}
        for _ in range(self.config.steps):
            loss, values = self._loss(student)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            sum_gradients(optimiser)
            optimiser.step()
        return self._harvest(), values

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        return dict(self.generator.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.generator.load_state_dict(state)

    def _draw(self) -> tuple[Tensor, Tensor]:
        batch, classes = self.config.batch_size, self.teacher.spec.classes
        noise = torch.randn(batch, self.config.latent)
        # Each class equally often; where a batch cannot hold all, any may come first.
        start = torch.randint(classes, ()) if batch < classes else 0
        labels = (torch.arange(batch) + start) % classes
        return share(noise).to(self.device), share(labels).to(self.device)

    def _loss(
        self, student: Callable[[Tensor], Outputs]
    ) -> tuple[Tensor, dict[str, float]]:
        noise, labels = self._draw()
        with self._autocast():
            pixels = self.generator(noise, labels)
            images = self.teacher.normalise(pixels * 255)
            with self.teacher.tapped(shared=True) as taps:
                teacher = self.teacher(images)
            student_outputs = student(images)
        state = SynthesisState(
            gathered(images),
            gathered(labels),
            gathered_outputs(teacher),
            tuple(taps),
            gathered_outputs(student_outputs),
        )
        return weighted_sum(self.priors, state)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.bf16
        )

    def _harvest(self) -> Tensor:
        with torch.no_grad(), self._autocast():
            batches = [
                gathered(self.generator(*self._draw()))
                for _ in range(self.config.harvest)
            ]
        return torch.cat(batches)
