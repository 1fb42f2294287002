"""The job that test_distributed.py runs in each process.

torchrun --nproc-per-node 2 distributed_job.py TEACHER FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from stars import teacher as teachers
from stars.config.models import DistillConfig, TermConfig
from stars.data.images import LabeledImages
from stars.distillation.distiller import Distillation
from stars.distillation.loop import distill, follow, run_rounds, unseen
from stars.networks.architectures import blueprint
from stars.networks.student import build, with_membranes
from stars.objective import bind, weighted_sum
from stars.priors import PRIORS
from stars.run_directory import Run
from stars.runtime.distributed import Group, gathered, leave, processes, share
from stars.synthesis import METHODS, synthesizer
from stars.synthesis.critic import Critic
from stars.teacher.teacher import Teacher

BATCH = 12
CONFIG = DistillConfig.model_validate(
    {
        "student": {"options": {"widths": [3, 4], "depths": [1, 1]}, "steps": 2},
        "synthesis": {
            "rounds": 3,
            "steps": 3,
            "batch_size": BATCH,
            "harvest": 2,
            "latent": 4,
            "width": 4,
            "bank": 43,  # three rounds make 72
            "bf16": False,
        },
        "training": {"steps": 9, "batch_size": BATCH, "bf16": False},
        "loss": [
            {"name": "kl"},
            {"name": "rkd"},
            {"name": "feature_map", "match": "relation"},
            {"name": "samd", "form": "paper"},
        ],
        "grid": {"steps": 2},
        "backend": "norse-eager",  # nothing to compile
        "trouble": "warn",
        "seed": 1,
    }
)


class KilledError(Exception):
    """An error that the loop does not expect."""


def kill_after_two(stage: str, done: int, *_: object) -> None:
    """A progress that stops all processes at the same place."""
    if (stage, done) == ("distill", 2):
        raise KilledError


def killed(teacher: Teacher, path: Path, *, first: bool) -> None:
    """Kill a run of three rounds after the second one."""
    run = Run.create(path, CONFIG) if first else None
    try:
        run_rounds(Distillation(CONFIG, teacher), run, kill_after_two)
    except KilledError:
        return
    raise AssertionError("it was not killed")


@contextmanager
def float64(teacher: Teacher) -> Iterator[Teacher]:
    """The teacher in float64; networks made in this context are float64 too.

    In float32 a sum in another order may move a spike.
    """
    teacher = Teacher(teacher.network.double(), teacher.spec)
    mean, deviation = teacher.spec.mean[0], teacher.spec.deviation[0]
    teacher.normalize = lambda images: (images.double() / 255 - mean) / deviation
    torch.set_default_dtype(torch.float64)
    try:
        yield teacher
    finally:
        torch.set_default_dtype(torch.float32)


def trace(teacher: Teacher) -> dict[str, Any]:
    """One round: losses and gradients of every step, and the final state."""
    losses: list[dict[str, float]] = []
    gradients: list[list[torch.Tensor]] = []

    def keep_losses(*arguments: Any) -> Any:
        result = weighted_sum(*arguments)
        losses.append(result[1])
        return result

    def keep_scores(*arguments: Any, **options: Any) -> Any:
        result = score(*arguments, **options)
        losses.append(result[1])
        return result

    def keep_gradients(optimizer: torch.optim.Optimizer, *_: object) -> None:
        groups = optimizer.param_groups
        gradients.append([p.grad.clone() for g in groups for p in g["params"]])

    score = Critic.score
    distillation = Distillation(CONFIG, teacher)
    hook = register_optimizer_step_pre_hook(keep_gradients)
    with (
        mock.patch("stars.distillation.distiller.weighted_sum", keep_losses),
        mock.patch("stars.synthesis.critic.Critic.score", keep_scores),
    ):
        distillation.round(1)
    hook.remove()
    state = distillation.state_dict()
    return {
        "losses": losses,
        "gradients": gradients,
        "student": state["student"],
        "generator": state["synthesizer"],
        "bank": state["bank"],
        "held": len(distillation.bank.held()),
    }


def inverted(teacher: Teacher) -> dict[str, dict[str, Any]]:
    """Images and terms of two rounds with all priors, by method."""
    spec, found = teacher.spec, {}
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    torch.manual_seed(0)
    student = build(plan, steps=2).eval().requires_grad_(requires_grad=False)
    priors = bind(PRIORS, [TermConfig(name=name) for name in PRIORS], "prior")
    for method in METHODS:
        config = CONFIG.synthesis.model_copy(update={"method": method})
        torch.manual_seed(1)
        made = synthesizer(teacher, priors, config)
        rounds = [made.round(partial(with_membranes, student)) for _ in range(2)]
        images = torch.stack([images for images, _ in rounds])
        found[method] = {"images": images, **rounds[-1][1]}
    return found


def labeled(teacher: Teacher) -> dict[str, Any]:
    """A batch of real images, its labels, and the loss that reads them."""
    rng = np.random.default_rng(0)
    real = LabeledImages(
        rng.integers(0, 256, (50, *teacher.spec.input_shape), np.uint8),
        rng.integers(0, teacher.spec.classes, 50),
    )
    config = CONFIG.model_copy(
        update={"data": "x", "loss": [TermConfig(name="ce", labels=True)]}
    )
    distillation = Distillation(config, teacher, real)
    images, labels = distillation.batch(np.random.default_rng(1))
    assert labels is not None
    values = distillation.learn(
        distillation.student, distillation.optimizer, rng, bf16=False
    )
    return {"images": gathered(images), "labels": gathered(labels), **values}


def main(teacher_path: str, folder: Path) -> None:
    """Run everything that needs two processes."""
    with Group() as group, float64(teachers.load(teacher_path)) as teacher:
        assert processes() == 2
        for dtype in (torch.float32, torch.bfloat16, torch.int64):
            batch = torch.arange(12).reshape(4, 3).to(dtype)
            assert torch.equal(gathered(share(batch)), batch)
            assert torch.equal(gathered(share(batch).T, 1), batch.T)
        killed(teacher, folder / "killed", first=group.first)
        if group.first:
            run = Run.create(folder / "resumed", CONFIG, resume=True)
            distill(CONFIG, teacher, None, run, unseen)
        else:
            follow(CONFIG, teacher)
        found = {**trace(teacher), "inverted": inverted(teacher)}
        found["labeled"] = labeled(teacher)
        if group.first:
            torch.save(found, folder / "trace.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    leave(0)
