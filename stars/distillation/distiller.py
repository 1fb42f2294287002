"""Distillation: synthesize images, train the student on them, put it on the grid.

For comparison, the student can learn from real images; then none are synthesized.

The random numbers of a round depend only on the seed and the round's number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from stars.config.models import DistillConfig
from stars.data.augment import augment, mix, mixing
from stars.data.images import LabeledImages
from stars.distillation.diagnostics import collapsed, firing_rates, silent
from stars.distillation.grid_training import BudgetProjection, to_grid
from stars.distillation.optimizer import descent
from stars.distillation.sharded_bank import image_bank
from stars.distillation.teacher_start import (
    Scales,
    architecture,
    check_same_architecture,
    measured_scales,
    settle,
    start_from,
)
from stars.errors import ConfigError, TrainingError
from stars.graph.encoding import LEVELS, DirectEncoding
from stars.losses import LOSSES, READ_ACTIVATIONS
from stars.networks.architectures import blueprint
from stars.networks.batch_norm import fuse
from stars.networks.grid_layers import rounded
from stars.networks.lif import LIFConstants
from stars.networks.network import Network
from stars.networks.outputs import Outputs, gathered_outputs
from stars.networks.student import build, with_membranes
from stars.networks.student_file import StudentFile
from stars.objective import bind, weighted_sum
from stars.priors import PRIORS, READ_MEMBRANES
from stars.run_directory import Progress
from stars.runtime.device import bf16_pays, device
from stars.runtime.distributed import (
    check_alike,
    check_batch,
    own_device,
    processes,
    share,
    sum_gradients,
)
from stars.synthesis import synthesizer
from stars.teacher.teacher import Teacher

RATE_IMAGES = 200  # images of the bank that firing rates are measured on
SCALE_IMAGES = 512  # images of the bank that a student's scales are measured on
SCALE_BATCHES = 4  # batches of them, for its BatchNorm statistics


class Distillation:
    """One distillation: student, synthesizer, image bank and optimizer.

    Args:
        config: of the run.
        teacher: frozen.
        real: training images to learn from instead of synthetic ones. Only losses that
            ask for labels read their labels; all others learn from the teacher.

    Raises:
        ConfigError: an unknown name, option or device, or values that contradict each
            other.
    """

    def __init__(
        self,
        config: DistillConfig,
        teacher: Teacher,
        real: LabeledImages | None = None,
    ) -> None:
        if config.training.steps < config.synthesis.rounds:
            raise ConfigError(
                f"training.steps is {config.training.steps}, expected at least"
                f" synthesis.rounds, {config.synthesis.rounds}"
            )
        check_batch(config.training.batch_size, "training.batch_size")
        check_batch(config.synthesis.batch_size, "synthesis.batch_size")
        self.checksums: dict[str, str | None] = {
            "teacher": teacher.checksum(),
            "data": None if real is None else real.checksum(),
        }
        check_alike(self.checksums["teacher"], "the teacher's checksum")
        self.config = config
        self.device = device(own_device(config.device))
        self.bf16 = config.training.bf16 and bf16_pays(self.device)
        fused = config.backend == "fused"
        self.teacher = (teacher.compiled() if fused else teacher).to(self.device)
        spec = teacher.spec
        self.encoding = DirectEncoding(
            spec.mean, spec.deviation, config.student.input_exponent
        )
        self.losses = bind(LOSSES, config.loss, "loss")
        priors = bind(PRIORS, config.prior, "prior")
        self.membranes = any(t.weight and t.name in READ_MEMBRANES for t in priors)
        self.layers = any(t.weight and t.name in READ_ACTIVATIONS for t in self.losses)
        self.architecture, self.options = architecture(config.student, spec)
        plan = blueprint(
            self.architecture, spec.input_shape, spec.classes, self.options
        )
        if config.student.start == "teacher":
            check_same_architecture(plan, teacher.network)
        self.scales: Scales | None = None
        seed_everything(config.seed, 0)
        self.student = build(
            plan,
            config.student.steps,
            LIFConstants(surrogate=config.student.surrogate),
            config.backend,
        ).to(self.device)
        if fused:
            fuse(self.student)
        self.student.checkpointing = config.training.checkpointing
        self.synthesizer = synthesizer(self.teacher, priors, config.synthesis)
        self.bank = image_bank(config.synthesis.bank)
        self.real = real
        if real is not None:
            check_alike(self.checksums["data"], "the training images' checksum")
            self.bank.fill(torch.from_numpy(real.images))
        self.optimizer, self.schedule = descent(self.student, config.training)
        self.try_losses()

    def round(self, number: int) -> dict[str, float]:
        """Run one round; the values to log. `number` starts at 1.

        Raises:
            TrainingError: the synthesis, a loss, or the student is not finite.
        """
        seed_everything(self.config.seed, number)
        terms = {} if self.real is not None else self.synthesize(number)
        if number == 1 and self.config.student.start == "teacher":
            self.start()
        self.student.train().requires_grad_(requires_grad=True)
        rng = np.random.default_rng((self.config.seed, number))
        values: dict[str, float] = {}
        steps = portion(
            self.config.training.steps, self.config.synthesis.rounds, number
        )
        for _ in range(steps):
            values = self.learn(self.student, self.optimizer, rng, bf16=self.bf16)
            self.schedule.step()
        if not all(bool(p.isfinite().all()) for p in self.student.parameters()):
            raise TrainingError(
                f"the student's weights are not finite after round {number} ({values});"
                " lower training.learning_rate"
            )
        return {**terms, **values, "student_steps": self.schedule.last_epoch}

    def synthesize(self, number: int) -> dict[str, float]:
        """Add one round's images to the bank; the values to log.

        These are the priors' last values, the lengths of their gradients, and
        "teacher_images": how many images the teacher has processed.

        Raises:
            TrainingError: an image or a value is not finite.
        """
        self.student.eval().requires_grad_(requires_grad=False)
        with self.teacher.counted() as judged:
            images, terms = self.synthesizer.round(self.see)
        if not (bool(images.isfinite().all()) and np.isfinite([*terms.values()]).all()):
            raise TrainingError(
                f"the synthesis of round {number} is not finite ({terms}); lower"
                " synthesis.learning_rate"
            )
        self.bank.add(images)
        return {**terms, "teacher_images": processes() * sum(judged)}

    def start(self) -> None:
        """Give the student the teacher's weights, scaled on images of the bank."""
        newest = torch.from_numpy(self.bank.newest(SCALE_IMAGES)).to(self.device)
        images = self.teacher.normalize(newest)
        self.scales = measured_scales(
            self.teacher, images, self.config.student.quantile
        )
        start_from(self.student, cast("Network", self.teacher.network), self.scales)
        inputs = quantized(images, self.encoding)
        settle(self.student, inputs.chunk(SCALE_BATCHES))

    @torch.no_grad()
    def troubles(self) -> list[str]:
        """Warnings about the last round's images and the student's rates on them."""
        newest = self.bank.newest(RATE_IMAGES)
        images = self.teacher.normalize(torch.from_numpy(newest).to(self.device))
        rates = firing_rates(self.student, quantized(images, self.encoding))
        synthesis = self.config.synthesis
        harvest = self.bank.newest(synthesis.harvest * synthesis.batch_size)
        alike = collapsed(harvest) if self.real is None else []
        return alike + silent(rates, self.config.training.learning_rate)

    def try_losses(self) -> None:
        """Evaluate the losses once on blank images, so that mistakes show at once.

        The batch has the size of training, so that no extra kernel is compiled.

        Raises:
            ConfigError: a loss needs something that these networks lack, or no loss
                trains the head.
        """
        shape = (self.config.training.batch_size, *self.teacher.spec.input_shape)
        blank = share(torch.zeros(shape, device=self.device))
        self.student.eval()
        some = torch.zeros(len(blank), dtype=torch.int64)
        labels = self.labels(some, torch.ones(len(blank)))
        teacher = replace(self.teacher(blank, layers=self.layers), labels=labels)
        student = self.student(quantized(blank, self.encoding), layers=self.layers)
        student, teacher = map(gathered_outputs, (student, teacher))
        loss, values = weighted_sum(self.losses, student, teacher)
        head = self.student.layers[self.student.blueprint.layers[-1].name]
        weights = list(head.parameters())
        if not loss.requires_grad or not any(
            gradient is not None
            for gradient in torch.autograd.grad(loss, weights, allow_unused=True)
        ):
            raise ConfigError(
                f"loss {sorted(values)} alone does not train the student's class"
                " scores; add a loss that reads them, such as kl"
            )

    def on_grid(self, progress: Progress) -> Network:
        """The student on the grid, fine-tuned on the bank's images."""
        config = self.config.grid
        number = self.config.synthesis.rounds + 1
        seed_everything(self.config.seed, number)
        rng = np.random.default_rng((self.config.seed, number))
        network = to_grid(self.student.cpu(), self.encoding).to(self.device)
        network.checkpointing = self.config.training.checkpointing
        project = BudgetProjection(network, self.encoding)
        project()
        if config.steps == 0:
            return network.eval()
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
        network.train()
        for step in range(config.steps):
            values = self.learn(network, optimizer, rng, bf16=False)
            project()
            schedule.step()
            progress("grid", step + 1, config.steps, values)
        return network.eval()

    def finished(self, progress: Progress) -> tuple[Network, NDArray[np.uint8]]:
        """The student on the grid, and images to measure its firing rates on."""
        return self.on_grid(progress), self.bank.newest(RATE_IMAGES)

    def learn(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
        *,
        bf16: bool,
    ) -> dict[str, float]:
        """Train `network` for one step on images of the bank; the losses.

        Raises:
            TrainingError: the loss is not finite.
        """
        images, labels = self.batch(rng)
        teacher = self.teacher.answer(images, bf16=self.bf16, layers=self.layers)
        teacher = replace(teacher, labels=labels, scales=self.scales)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            student = network(quantized(images, self.encoding), layers=self.layers)
        student, teacher = gathered_outputs(student), gathered_outputs(teacher)
        loss, values = weighted_sum(self.losses, student, teacher)
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"the distillation loss became {float(loss.detach())} ({values}); lower"
                " training.learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        sum_gradients(optimizer)
        optimizer.step()
        return values

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Augmented and mixed images of the bank, normalized, [B, C, H, W].

        And the share of each class in them, [B, K]; None for synthetic images. With
        several processes, only this process's rows.
        """
        training = self.config.training
        images, places = self.bank.drawn(training.batch_size, rng)
        images = augment(images, rng, flip=training.flip, crop=training.crop)
        weights = mixing(len(images), rng, training.mixup)
        mixed = mix(self.teacher.normalize(images.to(self.device)), weights)
        labels = self.labels(places, weights)
        return share(mixed), None if labels is None else share(labels)

    def labels(self, places: Tensor, weights: Tensor) -> Tensor | None:
        """The mixed labels of the real images at these places; None without any."""
        if self.real is None:
            return None
        classes = torch.from_numpy(self.real.labels)[places]
        one_hot = F.one_hot(classes, self.teacher.spec.classes).float()
        return mix(one_hot.to(self.device), weights)

    def see(self, images: Tensor) -> Outputs:
        """The student's outputs on normalized images, rounded to the chip's input."""
        inputs = quantized(images, self.encoding)
        if self.membranes:
            return with_membranes(self.student, inputs)
        outputs: Outputs = self.student(inputs)
        return outputs

    def file(self) -> StudentFile:
        """The description in the student's file."""
        spec, student = self.teacher.spec, self.config.student
        return StudentFile(
            architecture=self.architecture,
            options=self.options,
            input_shape=spec.input_shape,
            classes=spec.classes,
            steps=student.steps,
            surrogate=student.surrogate,
            encoding=self.encoding,
            grids={},
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that rounds change, and the checksums of the inputs."""
        return {
            "student": self.student.state_dict(),
            "synthesizer": self.synthesizer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "bank": self.bank.whole() if self.real is None else None,
            "scales": None if self.scales is None else dict(self.scales),
            **self.checksums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ConfigError: it was made with another teacher or other real images.
        """
        if state.get("teacher") != self.checksums["teacher"]:
            raise ConfigError(
                "the checkpoint was made with another teacher than"
                f" '{self.config.teacher.source}'; start a new run"
            )
        if state.get("data") != self.checksums["data"]:
            raise ConfigError(
                "the checkpoint was made with other training images than"
                f" {self.config.data!r}; start a new run"
            )
        self.student.load_state_dict(state["student"])
        self.synthesizer.load_state_dict(state["synthesizer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state.get("scales") is not None:
            self.scales = {k: v.to(self.device) for k, v in state["scales"].items()}
        if self.real is None:
            self.bank.fill(state["bank"])


def portion(total: int, parts: int, number: int) -> int:
    """The `number`th of `parts` portions that add up to `total`.

    Portions differ by at most one. `number` starts at 1.
    """
    return number * total // parts - (number - 1) * total // parts


def quantized(images: Tensor, encoding: DirectEncoding) -> Tensor:
    """Images rounded to the encoding's 8-bit grid; gradients pass straight through."""
    return rounded(images, encoding.exponent, LEVELS)


def seed_everything(seed: int, number: int) -> None:
    """Seed torch's generators for one round."""
    torch.manual_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
