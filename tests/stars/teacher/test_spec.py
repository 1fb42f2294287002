"""A teacher's description is complete, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stars.config.models import TeacherConfig
from stars.errors import ConfigError
from stars.teacher.spec import spec_of
from stars.teacher.teacher import Teacher


@pytest.fixture(scope="module")
def teacher(make_teacher) -> Teacher:
    return make_teacher()


# The description


def test_a_section_without_a_description_is_none_and_a_part_of_one_is_refused():
    assert spec_of(TeacherConfig(source="a.safetensors")) is None
    with pytest.raises(ConfigError, match="needs all of input_shape, classes, mean"):
        spec_of(TeacherConfig(classes=10))
    with pytest.raises(ConfigError, match="need one value for each of 1 channels"):
        spec_of(TeacherConfig(input_shape=(1, 8, 8), classes=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5, 0.5)}, "one value for each of 1 channels"),
        ({"deviation": (0.0,)}, "must be positive"),
        ({"input_shape": (0, 8, 8), "mean": (), "deviation": ()}, "is empty"),
    ],
)
def test_a_description_that_cannot_be_is_refused(teacher, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(teacher.spec, **changes)
