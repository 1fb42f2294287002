"""What the methods share: drawing, judging images, and going down a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.networks.outputs import Outputs, gathered_outputs
from stars.objective import Term, evaluated, total_of
from stars.priors import SynthesisState
from stars.runtime.device import wide
from stars.runtime.distributed import gathered, sum_gradients
from stars.synthesis.generator import Generator
from stars.teacher.teacher import Teacher

ADAM_BETAS = (0.5, 0.999)  # of generators, in the code of CMI, Fast and NAYER

Student = Callable[[Tensor], Outputs]  # normalized images -> its outputs


class StepLoss(Protocol):
    """The loss of one step and its terms' values; `last` is the round's last step."""

    def __call__(self, *, last: bool) -> tuple[Tensor, dict[str, float]]:
        """One step forward."""
        ...


class Stateful(Protocol):
    """A module or an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go on from a checkpoint."""
        ...


@dataclass(frozen=True)
class Critic:
    """Judges images by the teacher, the student and the priors.

    Where processes share the batch, all draw the same noise and labels and each works
    on its own rows of them, which `share` gives; the priors see the whole batch.

    Args:
        teacher: frozen; its BatchNorm inputs are tapped.
        priors: terms of a SynthesisState.
        config: batch size, latent length, bf16.
    """

    teacher: Teacher
    priors: tuple[Term, ...]
    config: SynthesisConfig

    @property
    def device(self) -> torch.device:
        """Where the teacher is."""
        return next(self.teacher.parameters()).device

    def generator(self, classes: int = 0) -> Generator:
        """A fresh one of the teacher's images; with labels where there are classes."""
        made = Generator(
            self.teacher.spec.input_shape,
            latent=self.config.latent,
            width=self.config.width,
            classes=classes,
        )
        made.to(self.device).to(memory_format=torch.channels_last)
        return made

    def autocast(self) -> torch.autocast:
        """bf16 where the configuration asks for it."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.bf16
        )

    def noise(self) -> Tensor:
        """Standard normal [B, latent], of the whole batch."""
        size = (self.config.batch_size, self.config.latent)
        return torch.randn(size).to(self.device)

    def labels(self) -> Tensor:
        """[B]: each class equally often; where not all fit, any may come first.

        Of the whole batch.
        """
        batch, classes = self.config.batch_size, self.teacher.spec.classes
        start = torch.randint(classes, ()) if batch < classes else 0
        return ((torch.arange(batch) + start) % classes).to(self.device)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Pixels / 255 in 0..1 -> what the networks take."""
        return self.teacher.normalize(pixels * 255)

    def state(
        self, images: Tensor, labels: Tensor | None, student: Student
    ) -> SynthesisState:
        """What both networks say of normalized images [B, C, H, W].

        Args:
            images: gradients flow to them; this process's rows.
            labels: the classes that were asked for, of the whole batch; None for the
                teacher's own.
            student: run once a prior asks for it, on this process's rows.
        """
        with self.autocast(), self.teacher.tapped(shared=True) as taps:
            teacher = gathered_outputs(self.teacher(images))
        if labels is None:
            labels = teacher.mean_logits.argmax(1)

        def see(_: Tensor) -> Outputs:
            with self.autocast():
                return gathered_outputs(student(images))

        return SynthesisState(gathered(images), labels, teacher, tuple(taps), see)

    def score(
        self, state: SynthesisState, images: Tensor, *, last: bool
    ) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of the priors, and each one's value.

        Args:
            state: of the step.
            images: that it was made of, this process's rows.
            last: also give "gradient/NAME", the length of d NAME / d images, to weigh
                the priors by.
        """
        terms = evaluated(self.priors, state)
        values = {name: float(term.detach()) for name, term in terms.items()}
        if last:
            values |= gradient_lengths(terms, images)
        return total_of(self.priors, terms), values


def gradient_lengths(terms: Mapping[str, Tensor], images: Tensor) -> dict[str, float]:
    """|d term / d images|_2 over the whole batch, as "gradient/NAME".

    0 for a term that does not depend on the images, which are this process's rows.
    """
    lengths = {}
    for name, term in terms.items():
        gradient = None
        if term.requires_grad:
            (gradient,) = torch.autograd.grad(
                term, images, retain_graph=True, allow_unused=True
            )
        lengths[f"gradient/{name}"] = (
            0.0 if gradient is None else float(wide(gathered(gradient)).norm())
        )
    return lengths


def descend(
    steps: int, loss: StepLoss, *optimizers: torch.optim.Optimizer
) -> dict[str, float]:
    """Take `steps` steps down the loss; the last one's values.

    Of what they optimize, every process holds all, and has the part of the gradient
    that comes from its own rows.
    """
    values: dict[str, float] = {}
    for step in range(1, steps + 1):
        total, values = loss(last=step == steps)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        for optimizer in optimizers:
            sum_gradients(optimizer)
            optimizer.step()
    return values


def states(**parts: Stateful) -> dict[str, Any]:
    """The state of each part, by name."""
    return {name: part.state_dict() for name, part in parts.items()}


def restore(state: Mapping[str, Any], **parts: Stateful) -> None:
    """Give each part its state back."""
    for name, part in parts.items():
        part.load_state_dict(state[name])


class Cheapest:
    """The tensors of the step with the smallest loss."""

    def __init__(self) -> None:
        self.cost = float("inf")
        self.tensors: tuple[Tensor, ...] = ()

    def offer(self, loss: Tensor, *tensors: Tensor) -> None:
        """Keep them where none were cheaper; a loss that is no number never is."""
        cost = float(loss.detach())
        if cost < self.cost or not self.tensors:
            self.cost, self.tensors = cost, tuple(t.detach() for t in tensors)


class LaterSteps:
    """The images that the steps of a round gave, after its first third.

    Args:
        config: number of steps; unless `harvest_from` is "steps", nothing is kept.
    """

    def __init__(self, config: SynthesisConfig) -> None:
        wanted = config.harvest_from == "steps"
        self.skipped = config.steps // 3 if wanted else config.steps
        self.batches: list[Tensor] = []

    def offer(self, pixels: Tensor) -> None:
        """Keep a step's images, [B, C, H, W], unless the step is an early one."""
        if self.skipped > 0:
            self.skipped -= 1
        else:
            self.batches.append(pixels.detach())

    def drawn(self, count: int) -> Tensor:
        """`count` of the images, drawn without replacement, or all if they are fewer.

        Of a batch that processes share, the images of all processes.
        """
        images = torch.cat([gathered(batch) for batch in self.batches])
        return images[torch.randperm(len(images))[:count].to(images.device)]
