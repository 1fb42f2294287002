"""What the source of a teacher tells before it is loaded."""

from __future__ import annotations

from pathlib import PurePath

BUNDLED = "fashion-mnist"  # the teacher and the test images that ship with us
FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar")


def is_file(source: str) -> bool:
    """Whether the source names a file of weights for one of our architectures."""
    return PurePath(source).name.endswith(FILES)
