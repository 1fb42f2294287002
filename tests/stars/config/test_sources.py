"""A teacher's file gives the defaults of a distillation; a damaged one gives none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stars.config.models import DistillConfig
from stars.config.sources import BUNDLED, BUNDLED_CLASSES, METADATA_KEY, flips, recorded

OWN = {"data": BUNDLED, "class_names": list(BUNDLED_CLASSES), "flip": True}
DIGITS = {"data": "mnist", "class_names": ["0 - zero", "1 - one"], "flip": False}


@pytest.fixture
def teacher(tmp_path: Path):
    """Writes a teacher's file with these notes; its path."""

    def write(notes: object) -> str:
        texts = {METADATA_KEY: json.dumps({"notes": notes})}
        save_file({"w": np.zeros(1)}, tmp_path / "a.safetensors", texts)
        return str(tmp_path / "a.safetensors")

    return write


def defaults(source: str, **values: object) -> tuple[str, bool]:
    config = DistillConfig.model_validate({"teacher": {"source": source}, **values})
    return config.test_data, config.training.flip


def test_the_names_of_the_bundled_classes_are_those_of_torchvision():
    from torchvision import datasets  # noqa: PLC0415 - it imports torch

    assert list(BUNDLED_CLASSES) == datasets.FashionMNIST.classes


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        (OWN, (BUNDLED, True)),
        (DIGITS, ("none", False)),
        ({**OWN, "class_names": DIGITS["class_names"]}, ("none", True)),
        ({**OWN, "data": "mnist"}, ("none", True)),
        ({"flip": False}, ("none", False)),  # of a file without a data set
        ({}, ("none", True)),
        ({"data": [BUNDLED], "class_names": 3, "flip": "no"}, ("none", True)),
        (["flip"], ("none", True)),
    ],
)
def test_defaults_are_those_that_the_file_records(teacher, notes, expected):
    source = teacher(notes)
    assert defaults(source) == expected
    given = {"test_data": "mine.npz", "training": {"flip": not expected[1]}}
    assert defaults(source, **given) == ("mine.npz", not expected[1])


def test_other_teachers_have_no_test_images_and_the_bundled_one_has_its_own():
    assert defaults("own:teacher") == defaults("gone.pt") == ("none", True)
    assert defaults(BUNDLED) == (BUNDLED, True)


@pytest.mark.parametrize("size", [0, 4, 30])
def test_a_damaged_file_gives_no_settings(teacher, size):
    path = Path(teacher(OWN))
    path.write_bytes(path.read_bytes()[:size])
    assert recorded(path) == recorded(path.parent) == recorded("a\0b") == {}


def test_digits_are_not_mirrored():
    assert not flips("mnist:DATA@train[:5000]")
    assert flips("fashion-mnist:DATA")
    assert flips("mnist.npz")
