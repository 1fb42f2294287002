"""Reads image folders: one folder per class, and the layout of Tiny-ImageNet."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stars.errors import DataError

MODES = {"1": "L", "LA": "L", "P": "RGB", "RGBA": "RGB"}  # conversions in Pillow
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
)  # Pillow runs other programs for formats such as PostScript
# Errors of Pillow for damaged images and for more than 89 million pixels.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    MemoryError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

# Images, labels, and the names of the classes.
Labeled = tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]


def read_classes(path: Path, split: str) -> Labeled:
    """Images [N, H, W] or [N, H, W, 3] in one folder per class, labels and classes.

    Classes are the folders' names in alphabetical order. If there is a train/, its
    folders also define the classes of test/.

    Raises:
        DataError: there is no class folder, one that train/ lacks, no image, an
            unreadable image, or images of several shapes.
    """
    root = path / split if (path / split).is_dir() else path
    known = class_names(path / "train" if (path / "train").is_dir() else root)
    foreign = sorted(set(class_names(root)) - set(known))
    if foreign:
        raise DataError(
            f"data '{path}': {root} has classes {foreign}, which train/ lacks"
        )
    images, labels = [], []
    for label, name in enumerate(known):
        folder = root / name
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() in IMAGE_SUFFIXES:
                images.append(read_image(file))
                labels.append(label)
    if not images:
        raise DataError(f"data '{path}': no class folders with images in {root}")
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataError(f"data '{path}': images differ in shape: {sorted(shapes)}")
    return np.stack(images), np.array(labels), tuple(known)


def read_tiny_imagenet(root: Path, split: str) -> Labeled:
    """Images [N, 3, 64, 64] of Tiny-ImageNet, their labels, and the classes.

    They are in root/tiny-imagenet-200 or in root itself. The test split is the
    validation folder, because the labels of the test folder are not public.

    Raises:
        DataError: a file of the layout is missing, or an image is not 64 x 64.

    Source: layout of tiny-imagenet-200.zip (Stanford CS231n).
    """
    inner = root / "tiny-imagenet-200"
    root = inner if inner.is_dir() else root
    names = read_lines(root / "wnids.txt")
    label_of = {name: label for label, name in enumerate(sorted(names))}
    if split == "train":
        found = [
            (file, label_of[name])
            for name in label_of
            for file in sorted((root / "train" / name / "images").glob("*.JPEG"))
        ]
    else:
        rows = [x.split("\t") for x in read_lines(root / "val" / "val_annotations.txt")]
        found = [(root / "val" / "images" / r[0], label_of.get(r[1], -1)) for r in rows]
    if not found:
        raise DataError(f"data 'tiny-imagenet:{root}': no images of the {split} split")
    images = np.empty((len(found), 3, 64, 64), np.uint8)
    for image, (file, _) in zip(images, found, strict=True):
        pixels = read_image(file, "RGB")
        if pixels.shape != (64, 64, 3):
            raise DataError(f"image '{file}' is {pixels.shape}, expected (64, 64, 3)")
        image[:] = pixels.transpose(2, 0, 1)
    return images, np.array([label for _, label in found]), tuple(sorted(names))


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [x for x in path.read_text(encoding="utf-8").splitlines() if x]
    except OSError as error:
        raise DataError(f"data: '{path}': {error.strerror}") from error


def class_names(folder: Path) -> list[str]:
    """The sorted names of the folders in `folder`, without hidden ones."""
    return sorted(
        p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")
    )


def read_image(path: Path, mode: str | None = None) -> NDArray[np.uint8]:
    """The pixels of a file, [H, W] or [H, W, 3], without palette or alpha.

    Args:
        path: of the file.
        mode: of Pillow, to convert to; None keeps gray or color.

    Raises:
        DataError: the file is no image, or a damaged one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                wanted = mode or MODES.get(image.mode, image.mode)
                return np.asarray(image.convert(wanted))
    except UNREADABLE as error:
        raise DataError(f"image '{path}': cannot be read ({error})") from error
