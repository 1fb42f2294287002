"""Reads the inputs of a distillation: a teacher and images."""

from __future__ import annotations

from stars.config.models import DistillConfig
from stars.data import images
from stars.data.images import LabeledImages
from stars.priors import READ_STATISTICS
from stars.teacher.loading import load
from stars.teacher.spec import spec_of
from stars.teacher.teacher import Teacher


def read_inputs(
    config: DistillConfig, teacher: Teacher | None = None
) -> tuple[Teacher, LabeledImages | None, LabeledImages | None]:
    """The teacher, the test images or None, and the training images or None.

    Args:
        config: names all three.
        teacher: replaces the one that `config` names.

    Raises:
        StarsError: one of them cannot be read.
    """
    if teacher is None:
        teacher = load(config.teacher.source, spec_of(config.teacher))
    teacher.check_statistics(statistics_readers(config))
    test = None if config.test_data == "none" else images.load(config.test_data)
    return teacher, test, images.load(config.data, "train") if config.data else None


def statistics_readers(config: DistillConfig) -> list[str]:
    """The priors and the method that read the teacher's BatchNorm statistics."""
    if config.data:
        return []  # nothing is synthesized
    priors = [p.name for p in config.prior if p.weight and p.name in READ_STATISTICS]
    method = config.synthesis.method
    return [*priors, method] if method == "cmi" else priors
