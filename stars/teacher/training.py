"""Trains ANN teachers: SGD, one-cycle learning rate, random flips and crops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from stars.config.models import TeacherTrainingConfig
from stars.data.accuracy import share_right
from stars.data.augment import augment
from stars.data.images import LabeledImages
from stars.errors import DataError, TrainingError
from stars.networks.architectures import blueprint
from stars.networks.network import Network, ann
from stars.networks.outputs import Outputs
from stars.run_directory import Progress, Run
from stars.runtime.device import bf16_pays, device
from stars.teacher.loading import save
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher, normalize


@dataclass(frozen=True)
class TeacherResult:
    """The result of a training at the last epoch, never the best one."""

    test_accuracy: float
    epochs: int
    seconds: float
    path: Path


def train(
    config: TeacherTrainingConfig,
    data: LabeledImages,
    test: LabeledImages,
    run: Run,
    progress: Progress,
) -> TeacherResult:
    """Train a teacher, writing checkpoints and `teacher.safetensors` into `run`.

    Resumes from the run's last checkpoint when there is one.

    Raises:
        DataError: training and test images differ in shape, are the same, or do not
            fill a batch; or the test images have classes that the others lack.
        TrainingError: the loss is not finite.
        ConfigError: the architecture refuses its options.
    """
    with run.begun():
        check_data(data, test)
        return train_into(config, data, test, run, progress)


def check_data(data: LabeledImages, test: LabeledImages) -> None:
    """Refuse test images that do not fit the training images.

    Raises:
        DataError: another shape, the training images themselves, or unknown classes.
    """
    if data.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training images have shape {data.images.shape[1:]}, test images"
            f" {test.images.shape[1:]}"
        )
    if np.array_equal(data.images, test.images):
        raise DataError(
            "the test images are the training images, so a test accuracy would mean"
            " nothing; give data with a test split"
        )
    if test.classes > data.classes:
        raise DataError(
            f"test labels go up to {test.classes - 1}, training labels up to"
            f" {data.classes - 1}"
        )


def train_into(
    config: TeacherTrainingConfig,
    data: LabeledImages,
    test: LabeledImages,
    run: Run,
    progress: Progress,
) -> TeacherResult:
    """`train`, without checking the data."""
    chosen = device(config.device)
    torch.manual_seed(config.seed)
    mean, deviation = data.statistics()
    spec = TeacherSpec(
        architecture=config.architecture,
        options=config.options,
        input_shape=tuple(data.images.shape[1:]),
        classes=data.classes,
        mean=mean,
        deviation=deviation,
    )
    network = ann(
        blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    ).to(chosen)
    accuracy, seconds = fit(network, spec, config, data, test, run, progress)
    notes = {
        **config.model_dump(exclude={"device"}),
        "data": data.name,
        "class_names": data.class_names,
        "test_accuracy": accuracy,
        "training_images": len(data),
    }
    teacher = Teacher(network.cpu(), replace(spec, notes=notes))
    path = run.path / "teacher.safetensors"
    save(teacher, path)
    result = TeacherResult(accuracy, config.epochs, round(seconds, 1), path)
    run.add_to_manifest(
        {
            "data": {"source": data.name, "sha256": data.checksum()},
            "test_data": {"source": test.name, "sha256": test.checksum()},
            "teacher": {"sha256": teacher.checksum()},
            "test_accuracy": accuracy,
            "seconds": result.seconds,
        }
    )
    run.record_artifact(path)
    return result


def fit(
    network: Network,
    spec: TeacherSpec,
    config: TeacherTrainingConfig,
    data: LabeledImages,
    test: LabeledImages,
    run: Run,
    progress: Progress,
) -> tuple[float, float]:
    """Run the remaining epochs; the last test accuracy, and seconds of all epochs."""
    optimizer = torch.optim.SGD(
        parameter_groups(network, config.weight_decay),
        lr=config.learning_rate,
        momentum=0.9,
        nesterov=True,
    )
    batches = len(data) // config.batch_size
    if batches < 1:
        raise DataError(
            f"{len(data)} training images do not fill one batch of {config.batch_size}"
        )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, epochs=config.epochs, steps_per_epoch=batches
    )
    state = run.load_checkpoint()
    first, accuracy, seconds = 0, 0.0, 0.0
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, accuracy, seconds = state["epoch"], state["accuracy"], state["seconds"]
    run.forget_log(after=first)
    for epoch in range(first, config.epochs):
        started = time.monotonic()
        generator = np.random.default_rng((config.seed, epoch))
        loss = epoch_loss(network, spec, config, data, optimizer, schedule, generator)
        accuracy = test_accuracy(network, spec, test)
        seconds += time.monotonic() - started
        metrics = {"loss": loss, "test_accuracy": accuracy}
        run.log({"epoch": epoch + 1, **metrics})
        run.save_checkpoint(
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
                "accuracy": accuracy,
                "seconds": seconds,
            }
        )
        progress("teacher", epoch + 1, config.epochs, metrics)
    return accuracy, seconds


def parameter_groups(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay on matrices and kernels only."""
    parameters = list(network.parameters())
    return [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def epoch_loss(
    network: Network,
    spec: TeacherSpec,
    config: TeacherTrainingConfig,
    data: LabeledImages,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: np.random.Generator,
) -> float:
    """Train for one epoch; the mean cross-entropy in nats.

    Raises:
        TrainingError: it is not finite.
    """
    network.train()
    place = next(network.parameters()).device
    bf16 = config.bf16 and bf16_pays(place)
    total, count = 0.0, 0
    for images, labels in shuffled(data, config.batch_size, rng):
        x = augment(images, rng, flip=config.flip, crop=config.crop)
        x = normalize(x, spec).to(config.device)
        with torch.autocast(place.type, torch.bfloat16, enabled=bf16):
            logits = network(x).logits[0]
        loss = F.cross_entropy(logits.float(), labels.to(config.device))
        if not bool(loss.isfinite()):
            raise TrainingError(
                f"the loss became {float(loss.detach())} after {count} batches; lower"
                " learning_rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total, count = total + float(loss.detach()), count + 1
    return total / count


def shuffled(
    data: LabeledImages, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches (uint8 images, labels) in random order; a rest is dropped."""
    order = rng.permutation(len(data))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        yield (
            torch.from_numpy(data.images[chosen]),
            torch.from_numpy(data.labels[chosen]),
        )


def test_accuracy(network: Network, spec: TeacherSpec, test: LabeledImages) -> float:
    """The share of `test` that the network classifies correctly."""
    network.eval()
    device = next(network.parameters()).device

    def scores(images: NDArray[np.uint8]) -> Tensor:
        x = normalize(torch.from_numpy(images), spec).to(device)
        outputs: Outputs = network(x)
        return outputs.mean_logits

    return share_right(scores, test)
