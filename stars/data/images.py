"""Labeled images: bundled, from torchvision, from .npz files or image folders.

Images are always uint8 [N, C, H, W]; the teacher normalizes them, and the encoding
rounds them. Only reading from torchvision imports torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stars.config.sources import BUNDLED, BUNDLED_CLASSES
from stars.data.image_folder import read_classes, read_tiny_imagenet
from stars.errors import DataError, FormatError, guess
from stars.files.npz import read_npz

TORCHVISION: dict[str, str] = {
    "fashion-mnist": "FashionMNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
FOLDERS = {"tiny-imagenet": read_tiny_imagenet}
# SPEC, an optional @train or @test, and an optional slice of the images.
PART = re.compile(
    r"(?P<spec>.+?)@(?P<split>train|test)(\[(?P<low>\d*):(?P<high>\d*)\])?"
)


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """Images with their classes.

    Args:
        images: uint8 [N, C, H, W].
        labels: int64 [N], 0 .. classes - 1.
        name: of the data set, file or folder.
        class_names: one for each class; empty if unknown.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    name: str = ""
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                f"images are {images.dtype} {images.shape}, expected uint8 [N, C, H, W]"
            )
        if len(images) == 0:
            raise DataError("it holds no image")
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"labels are {labels.dtype} {labels.shape}, expected integers"
                f" [{len(images)}], one for each image"
            )
        if labels.min() < 0:
            raise DataError(f"a label is {labels.min()}; labels start at 0")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int64))

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.labels.max()) + 1

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of pixel / 255 per channel, rounded to 4 digits."""
        axes = (0, 2, 3)
        pixels = self.images
        mean = pixels.mean(axis=axes, dtype=np.float64) / 255
        deviation = pixels.std(axis=axes, dtype=np.float64) / 255
        return (
            tuple(round(float(m), 4) for m in mean),
            tuple(round(float(d), 4) for d in deviation),
        )

    def checksum(self) -> str:
        """SHA-256 of the images' bytes."""
        return hashlib.sha256(self.images.tobytes()).hexdigest()

    def first(self, count: int) -> LabeledImages:
        """The first `count` images, or all if there are fewer.

        Raises:
            DataError: count is below 1.
        """
        if count < 1:
            raise DataError(f"asked for {count} images; at least 1 is needed")
        return replace(self, images=self.images[:count], labels=self.labels[:count])

    def part(self, low: int, high: int) -> LabeledImages:
        """The images low .. high - 1.

        Raises:
            DataError: the range is empty or exceeds the images.
        """
        if not 0 <= low < high <= len(self):
            raise DataError(
                f"images [{low}:{high}]: expected a range within [0:{len(self)}]"
            )
        return replace(self, images=self.images[low:high], labels=self.labels[low:high])

    def share_in(self, other: LabeledImages) -> float:
        """The share of these images that are also in `other`, pixel by pixel."""
        known = {image.tobytes() for image in other.images}
        return sum(image.tobytes() in known for image in self.images) / len(self)


def kind_of(spec: str) -> str:
    """Whether accuracies on the images `spec` are "test" or "development" ones.

    Training images are for choosing settings; the teacher may have seen them.
    """
    part = PART.fullmatch(spec)
    return "development" if part and part["split"] == "train" else "test"


def load(spec: str, split: str = "test") -> LabeledImages:
    """The images that `spec` names.

    Args:
        spec: "fashion-mnist" (the bundled 10,000 test images), "NAME:ROOT" with a
            torchvision data set (fashion-mnist, mnist, cifar10, cifar100) or
            tiny-imagenet under ROOT, the path of an .npz, or a folder with one folder
            per class, or with train/ and test/ of these. A suffix "@train" or "@test"
            overrides the split, and "[low:high]" selects a range of it:
            "mnist:ROOT@train[:5000]".
        split: "train" or "test"; `spec` can override it.

    Raises:
        DataError: the name is unknown, or the content is not labeled images.
    """
    if split not in ("train", "test"):
        raise DataError(f"split is {split!r}, expected 'train' or 'test'")
    part = PART.fullmatch(spec)
    if part is not None:
        whole = load(part["spec"], part["split"])
        low, high = part["low"], part["high"]
        return whole.part(int(low or 0), int(high) if high else len(whole))
    if spec == BUNDLED:
        return bundled(split)
    name, _, root = spec.partition(":")
    if name in TORCHVISION and root:
        return from_torchvision(name, Path(root).expanduser(), split)
    if name in FOLDERS and root:
        images, labels, names = FOLDERS[name](Path(root).expanduser(), split)
        return LabeledImages(images, labels, name, names)
    path = Path(spec).expanduser()
    if path.suffix == ".npz":
        return from_npz(path, split)
    if path.is_dir():
        images, labels, names = read_classes(path, split)
        return LabeledImages(channels_first(images), labels, path.name, names)
    raise DataError(
        f"data {spec!r}: no such file or folder"
        f"{guess(spec, (BUNDLED, *TORCHVISION, *FOLDERS))}; allowed are '{BUNDLED}'"
        " (bundled test images), NAME:ROOT with NAME in"
        f" {sorted({**TORCHVISION, **FOLDERS})}, a .npz file, or a folder of"
        " class folders; each may end in @train[:5000]"
    )


def bundled(split: str) -> LabeledImages:
    """The 10,000 bundled test images of Fashion-MNIST.

    Raises:
        DataError: the split is not "test", or the file's checksum is wrong.
    """
    if split != "test":
        raise DataError(
            f"data '{BUNDLED}': only the test images are bundled; for training give"
            f" '{BUNDLED}:ROOT' with the data set under ROOT"
        )
    with read_asset("fashion_mnist_test.npz") as file, np.load(file) as archive:
        return LabeledImages(
            archive["images"], archive["labels"], BUNDLED, BUNDLED_CLASSES
        )


def read_asset(name: str) -> Any:
    """A bundled file, opened for reading, with its sha256 checked.

    Raises:
        DataError: the file is missing or was changed.
    """
    folder = files("stars") / "assets"
    asset = folder / name
    if not asset.is_file():
        raise DataError(f"bundled file {name!r} is missing; reinstall stars-snn")
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {file: checksum for checksum, file in (line.split() for line in lines)}
    found = hashlib.sha256(asset.read_bytes()).hexdigest()
    if listed.get(name) != found:
        raise DataError(
            f"bundled file {name!r} has sha256 {found}, expected {listed.get(name)};"
            " reinstall stars-snn"
        )
    return asset.open("rb")


def from_torchvision(name: str, root: Path, split: str) -> LabeledImages:
    """A torchvision data set under `root`, downloaded if it is missing.

    Raises:
        DataError: it is missing and cannot be downloaded.
    """
    from torchvision import datasets  # noqa: PLC0415 - imports torch

    kind: Callable[..., Any] = getattr(datasets, TORCHVISION[name])
    try:
        dataset = kind(str(root), train=split == "train", download=True)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"data '{name}:{root}': not found, and the download failed ({error})"
        ) from error
    images = np.asarray(dataset.data)
    labels, names = np.asarray(dataset.targets), tuple(dataset.classes)
    return LabeledImages(channels_first(images), labels, name, names)


def channels_first(images: NDArray[Any]) -> NDArray[np.uint8]:
    """[N, H, W] or [N, H, W, C] or [N, C, H, W] -> [N, C, H, W]."""
    if images.ndim == 3:
        return images[:, None]
    last = images.ndim == 4 and images.shape[-1] in (1, 3)
    if last and images.shape[1] not in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images


def from_npz(path: Path, split: str) -> LabeledImages:
    """The arrays x_train, y_train, x_test, y_test (or images, labels) of an .npz.

    Raises:
        DataError: the file is missing, is no .npz, or has other arrays.
    """
    if not path.is_file():
        raise DataError(f"data '{path}': no such file")
    try:
        arrays = read_npz(path)
        for x, y in ((f"x_{split}", f"y_{split}"), ("images", "labels")):
            if x in arrays and y in arrays:
                images, labels = channels_first(arrays[x]), arrays[y].reshape(-1)
                return LabeledImages(images, labels, path.name)
    except FormatError as error:
        raise DataError(f"data {error}") from error
    except DataError as error:
        raise DataError(f"data '{path}': {error}") from error
    raise DataError(
        f"data '{path}': holds {sorted(arrays)}, expected x_{split} and y_{split}, or"
        " images and labels"
    )
