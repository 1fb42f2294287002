"""What the sources of a teacher and of data tell before they are loaded."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from safetensors import SafetensorError, safe_open

from stars.files.json_toml import parse_json

BUNDLED = "fashion-mnist"  # the teacher and the test images that ship with us
BUNDLED_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
UNFLIPPED = ("mnist",)  # data sets of which a mirror image is no further example
UNREADABLE = (
    *(SafetensorError, OSError, RuntimeError, ValueError, LookupError),  # of the file
    *(TypeError, AttributeError),  # of notes of other types
)
FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar")
METADATA_KEY = "stars.teacher"  # of a teacher's description in its file


def is_file(source: str) -> bool:
    """Whether the source names a file of weights for one of our architectures."""
    return PurePath(source).name.endswith(FILES)


def flips(data: str) -> bool:
    """Whether training on this data set mirrors images at random by default."""
    return data.partition(":")[0] not in UNFLIPPED


def recorded(source: object) -> dict[str, Any]:
    """The settings of a distillation that follow from a teacher's file.

    Images are mirrored as in the teacher's training, and the bundled test images are
    used if it was trained on their data set. A file that is missing, damaged or of an
    older version gives no settings; whoever loads it raises the error.
    """
    try:
        with safe_open(Path(str(source)).expanduser(), "numpy") as file:
            notes = parse_json(file.metadata()[METADATA_KEY])["notes"]
        known = (notes.get("data"), tuple(notes.get("class_names", ())))
        flip = notes.get("flip")
    except UNREADABLE:
        return {}
    return {
        **({"test_data": BUNDLED} if known == (BUNDLED, BUNDLED_CLASSES) else {}),
        **({"training": {"flip": flip}} if isinstance(flip, bool) else {}),
    }
