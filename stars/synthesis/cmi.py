"""CMI, contrastive model inversion: new images must differ from all earlier ones."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from stars.config.models import SynthesisConfig
from stars.errors import ConfigError
from stars.objective import Term
from stars.runtime.device import wide
from stars.synthesis.critic import (
    ADAM_BETAS,
    Cheapest,
    Critic,
    Student,
    descend,
    gradient_lengths,
    restore,
    states,
)
from stars.synthesis.views import shifted, zoomed
from stars.teacher.teacher import BatchNormTap, Teacher

PROJECTION = 256  # length of the vector h


class ContrastiveInversion:
    """Each round optimizes a new generator and new codes z into one batch of images.

        L = priors + c (mean_b CE_b + mean_m CE_m)
        CE_i = -log softmax_j(h(f_i^local) . h(f_j^global) / tau)_i

    i and j run over the batch b and the m remembered images of earlier rounds. f is the
    mean over the image of the inputs of all BatchNorm2d layers of the teacher. h is a
    projection to length 1, trained through all rounds. local and global are two random
    views of one image. A round returns the `batch_size` images of the step with the
    smallest loss and ignores `harvest`. Every step runs the teacher twice.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState, on the global view.
        config: batch size, steps, learning rate.
        contrast: c.
        temperature: tau > 0.
        memory: number of images whose features are remembered.
        negatives: number of them that a step compares with.

    Raises:
        ConfigError: temperature is not positive.

    Source: Fang et al. 2021, arXiv:2105.08584, section 3.3; both means, the detached
        global view and the network h in the authors' code.
    Differs: square local views; 4,096 remembered images and 1,024 negatives instead of
        40,960 and 4,096 in the code; the memory starts empty, not with inverted images.
    """

    def __init__(
        self,
        teacher: Teacher,
        priors: tuple[Term, ...],
        config: SynthesisConfig,
        *,
        contrast: float = 0.8,
        temperature: float = 0.1,
        memory: int = 4096,
        negatives: int = 1024,
    ) -> None:
        if not temperature > 0:
            raise ConfigError(f"cmi: temperature is {temperature}; it must be > 0")
        self.config = config
        self.critic = Critic(teacher, priors, config)
        self.contrast, self.temperature = contrast, temperature
        self.capacity, self.negatives = memory, negatives
        blank = torch.zeros(1, *teacher.spec.input_shape, device=self.critic.device)
        with torch.no_grad():
            length = self._features(blank).shape[1]
        self.head = nn.Sequential(
            nn.Linear(length, length), nn.ReLU(), nn.Linear(length, PROJECTION)
        ).to(self.critic.device)
        self.critic.sees_whole_batch(self.head)
        self.optimizer = torch.optim.Adam(self.head.parameters(), config.learning_rate)
        self.memory = torch.zeros(0, 2 * length, device=self.critic.device)

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images for this student, pixels / 255 [B, C, H, W], and the last terms."""
        critic, best = self.critic, Cheapest()
        generator = critic.generator()
        codes, labels = critic.noise().requires_grad_(), critic.labels()
        optimizer = torch.optim.Adam(
            [*generator.parameters(), codes],
            self.config.learning_rate,
            betas=ADAM_BETAS,
        )

        def loss(*, last: bool) -> tuple[Tensor, dict[str, float]]:
            pixels = critic.make(generator, codes)
            images = critic.normalized(shifted(pixels))
            state = critic.state(images, labels, student)
            total, values = critic.score(state, images, last=last)
            part = critic.normalized(zoomed(pixels))
            local = critic.whole(self._features(part))
            whole = critic.whole(instance_means(state.taps))
            contrastive = self._contrastive(local, whole)
            values["contrastive"] = float(contrastive.detach())
            if last:
                values |= gradient_lengths({"contrastive": contrastive}, part)
            total = total + self.contrast * contrastive
            best.offer(total, pixels, torch.cat([local, whole], 1))
            return total, values

        values = descend(self.config.steps, loss, optimizer, self.optimizer)
        self.memory = torch.cat([self.memory, *best.whole])[-self.capacity :].clone()
        return best.images(), values

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        parts = states(head=self.head, optimizer=self.optimizer)
        return {**parts, "memory": self.memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        restore(state, head=self.head, optimizer=self.optimizer)
        self.memory = state["memory"].to(self.critic.device)

    def _features(self, images: Tensor) -> Float[Tensor, "B F"]:
        critic = self.critic
        with critic.autocast(), critic.teacher.tapped() as taps:
            critic.teacher(images)
        return instance_means(taps)

    def _contrastive(
        self, local: Float[Tensor, "B F"], whole: Float[Tensor, "B F"]
    ) -> Tensor:
        chosen = torch.randperm(len(self.memory))[: self.negatives]
        known = self.memory[chosen.to(self.memory.device)].chunk(2, 1)
        ours, theirs = (
            F.normalize(self.head(torch.cat(rows)), dim=1)
            for rows in zip((local, whole), known, strict=True)
        )
        scores = ours @ theirs.detach().T / self.temperature
        itself = torch.arange(len(scores), device=scores.device)
        each = F.cross_entropy(scores, itself, reduction="none")
        new, old = each[: len(local)], each[len(local) :]
        return new.mean() + old.mean() if len(old) else new.mean()


def instance_means(taps: list[BatchNormTap] | tuple[BatchNormTap, ...]) -> Tensor:
    """The mean over the image of all BatchNorm2d inputs, [B, sum of channels]."""
    return torch.cat([wide(tap.inputs).mean((2, 3)) for tap in taps], 1)
