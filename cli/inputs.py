"""What a distillation reads: a teacher, and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stars.config import DistillConfig
    from stars.data import LabelledImages
    from stars.teacher import Teacher


def read_inputs(
    config: DistillConfig,
) -> tuple[Teacher, LabelledImages | None, LabelledImages | None]:
    """(The teacher, the test images, the real training images); None where not named.

    Raises:
        StarsError: one of them cannot be read.
    """
    from stars import data, teacher

    source = teacher.load(config.teacher.source, teacher.spec_of(config.teacher))
    test = None if config.test_data == "none" else data.load(config.test_data)
    return source, test, data.load(config.data, "train") if config.data else None
