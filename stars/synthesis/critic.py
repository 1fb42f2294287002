"""Critic: what every synthesis method needs, in one process or in several."""

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
from stars.runtime.device import bf16_pays, wide
from stars.runtime.distributed import gathered, processes, share, sum_gradients
from stars.synthesis.generator import Generator
from stars.teacher.teacher import Teacher

ADAM_BETAS = (0.5, 0.999)  # of generators, in the code of CMI, Fast and NAYER

Student = Callable[[Tensor], Outputs]  # normalized images -> its outputs


class StepLoss(Protocol):
    """Returns a step's loss and its terms' values; `last` marks the last step."""

    def __call__(self, *, last: bool) -> tuple[Tensor, dict[str, float]]:
        """Run one forward pass."""
        ...


class Stateful(Protocol):
    """A module or an optimizer, as a checkpoint sees it."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Go on from a checkpoint."""
        ...


@dataclass(frozen=True)
class Critic:
    """Draws noise and labels, makes images of them, and scores the images.

    A method written with it need not know about processes. `noise` and `labels` are
    those of the whole batch, the same in every process. `make` gives the images of this
    process's rows. `state`, `score`, `Cheapest` and `Harvest` take these images, and
    the priors see those of the whole batch.

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
        """The teacher's device."""
        return next(self.teacher.parameters()).device

    def generator(self, classes: int = 0) -> Generator:
        """A new generator of the teacher's images; conditional if `classes` is set."""
        made = Generator(
            self.teacher.spec.input_shape,
            latent=self.config.latent,
            width=self.config.width,
            classes=classes,
        )
        made.to(self.device).to(memory_format=torch.channels_last)
        return made

    def autocast(self) -> torch.autocast:
        """Autocast to bf16 if the configuration asks for it and it pays here."""
        enabled = self.config.bf16 and bf16_pays(self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def make(self, maker: Callable[..., Tensor], *batch: Tensor) -> Tensor:
        """The images that `maker` makes of this process's rows of `batch` [B, ...]."""
        with self.autocast():
            return maker(*map(share, batch))

    def whole(self, rows: Tensor) -> Tensor:
        """The rows of all processes; needed to compare images with each other."""
        return gathered(rows)

    def sees_whole_batch(self, module: torch.nn.Module) -> None:
        """Register a module that reads `whole` rows, once before training.

        Every process computes its full gradient, so the sum over processes is divided.
        """
        for parameter in module.parameters():
            parameter.register_hook(lambda gradient: gradient / processes())

    def noise(self) -> Tensor:
        """Standard normal [B, latent]."""
        size = (self.config.batch_size, self.config.latent)
        return torch.randn(size).to(self.device)

    def labels(self) -> Tensor:
        """[B]: each class equally often; in a small batch the first class is random."""
        batch, classes = self.config.batch_size, self.teacher.spec.classes
        start = torch.randint(classes, ()) if batch < classes else 0
        return ((torch.arange(batch) + start) % classes).to(self.device)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Pixels / 255 in 0..1 -> normalized images."""
        return self.teacher.normalize(pixels * 255)

    def state(
        self, images: Tensor, labels: Tensor | None, student: Student
    ) -> SynthesisState:
        """The outputs of both networks for normalized images [B, C, H, W].

        Args:
            images: gradients flow to them.
            labels: the requested classes; None for the classes that the teacher sees.
            student: runs when a prior first asks for it.
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
        """The weighted sum of the priors, and each one's value.

        Args:
            state: of the step.
            images: the images of `state`.
            last: whether to add "gradient/NAME", the length of d NAME / d images, by
                which a user can choose the weights.
        """
        terms = evaluated(self.priors, state)
        values = {name: float(term.detach()) for name, term in terms.items()}
        if last:
            values |= gradient_lengths(terms, images)
        return total_of(self.priors, terms), values


def gradient_lengths(terms: Mapping[str, Tensor], images: Tensor) -> dict[str, float]:
    """|d term / d images|_2 over the whole batch, as "gradient/NAME".

    0 for a term that does not depend on the images.
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
    """Take `steps` optimizer steps; the values of the last one.

    Gradients are summed over the processes, each of which computes those of its rows.
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
    """Load each part's state."""
    for name, part in parts.items():
        part.load_state_dict(state[name])


class Cheapest:
    """Keeps the images of the step with the smallest loss.

    Attributes:
        whole: further tensors of that step, with the rows of the whole batch.
    """

    def __init__(self) -> None:
        self.cost = float("inf")
        self.rows: Tensor | None = None
        self.whole: tuple[Tensor, ...] = ()

    def offer(self, loss: Tensor, pixels: Tensor, *whole: Tensor) -> None:
        """Keep the images if the loss is the smallest so far; NaN never is."""
        cost = float(loss.detach())
        if cost < self.cost or self.rows is None:
            self.cost, self.rows = cost, pixels.detach()
            self.whole = tuple(t.detach() for t in whole)

    def images(self) -> Tensor:
        """[B, C, H, W], the whole batch."""
        if self.rows is None:
            raise AssertionError("no step was offered")
        return gathered(self.rows)


class Harvest:
    """Collects the `harvest` x `batch_size` images that a generator's round returns.

    Args:
        config: with `harvest_from` "steps" they are drawn from the steps after the
            first third of the round, else they are made at its end.
    """

    def __init__(self, config: SynthesisConfig) -> None:
        self.config = config
        self.wanted = config.harvest_from == "steps"
        self.skipped = config.steps // 3 if self.wanted else config.steps
        self.batches: list[Tensor] = []

    def offer(self, pixels: Tensor) -> None:
        """Keep a step's images, [B, C, H, W], unless the step is too early."""
        if self.skipped > 0:
            self.skipped -= 1
        else:
            self.batches.append(pixels.detach())

    def images(self, make: Callable[[], Tensor]) -> Tensor:
        """[N, C, H, W]; all images of the steps if these are fewer.

        Args:
            make: gives a batch of new images.
        """
        if not self.wanted:
            with torch.no_grad():
                return torch.cat([gathered(make()) for _ in range(self.config.harvest)])
        images = torch.cat([gathered(batch) for batch in self.batches])
        count = self.config.harvest * self.config.batch_size
        return images[torch.randperm(len(images))[:count].to(images.device)]
