"""What a distillation reads: a teacher, and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stars.config.models import DistillConfig
    from stars.data.images import LabeledImages
    from stars.teacher.teacher import Teacher


def read_inputs(
    config: DistillConfig,
) -> tuple[Teacher, LabeledImages | None, LabeledImages | None]:
    """(The teacher, the test images, the real training images); None where not named.

    Raises:
        StarsError: one of them cannot be read.
    """
    from stars import teacher
    from stars.data import images

    source = teacher.load(config.teacher.source, teacher.spec_of(config.teacher))
    test = None if config.test_data == "none" else images.load(config.test_data)
    return source, test, images.load(config.data, "train") if config.data else None
