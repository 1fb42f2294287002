"""Reads the inputs of a distillation: a teacher and images."""

from __future__ import annotations

from stars.config.models import DistillConfig
from stars.data import images
from stars.data.images import LabeledImages
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
    test = None if config.test_data == "none" else images.load(config.test_data)
    return teacher, test, images.load(config.data, "train") if config.data else None
