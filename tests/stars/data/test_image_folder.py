"""Reading image folders and Tiny-ImageNet, and refusing others."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stars.data import image_folder, images as data
from stars.errors import DataError

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# Folders


def save(path: Path, array: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)


def test_a_folder_has_one_folder_for_each_class(tmp_path: Path):
    images = pixels(3, 4, 5, 3)
    save(tmp_path / "dog" / "1.png", images[0])
    save(tmp_path / "cat" / "2.png", images[1])
    save(tmp_path / "cat" / "1.PNG", images[2])
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    loaded = data.load(str(tmp_path))
    assert loaded.labels.tolist() == [0, 0, 1]
    assert (loaded.name, loaded.class_names) == (tmp_path.name, ("cat", "dog"))
    expected = images[[2, 1, 0]].transpose(0, 3, 1, 2)
    assert np.array_equal(loaded.images, expected)


def test_the_training_folders_name_the_classes_of_the_test_images(tmp_path: Path):
    """The test images lack 'cat'; 'dog' is still class 1."""
    for name in ("train/cat", "train/dog", "test/dog"):
        save(tmp_path / name / "1.png", pixels(4, 4))
    assert data.load(str(tmp_path), "train").labels.tolist() == [0, 1]
    assert data.load(str(tmp_path), "test").labels.tolist() == [1]
    save(tmp_path / "test" / "emu" / "1.png", pixels(4, 4))
    with pytest.raises(DataError, match=r"has classes \['emu'\], which train/ lacks"):
        data.load(str(tmp_path), "test")


@pytest.mark.parametrize(
    ("mode", "channels"), [("P", 3), ("RGBA", 3), ("1", 1), ("LA", 1), ("L", 1)]
)
def test_palettes_and_alpha_become_plain_color_or_gray(tmp_path, mode, channels):
    gray = np.where(pixels(4, 4) > 127, 255, 0).astype(np.uint8)
    save(tmp_path / "a" / "1.png", np.repeat(gray[..., None], 3, 2), mode)
    loaded = data.load(str(tmp_path)).images
    assert np.array_equal(loaded[0], np.repeat(gray[None], channels, 0))


def test_a_folder_that_holds_no_labeled_images_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no class folders with images"):
        data.load(str(tmp_path))
    save(tmp_path / "a" / "1.png", pixels(4, 4))
    save(tmp_path / "a" / "2.png", pixels(4, 5))
    with pytest.raises(DataError, match="images differ in shape"):
        data.load(str(tmp_path))
    (tmp_path / "a" / "2.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"2.png': cannot be read"):
        data.load(str(tmp_path))


# Tiny-ImageNet


def tiny_imagenet(root: Path) -> np.ndarray:
    """Two classes, two training and one validation image each; one is gray."""
    images = pixels(6, 64, 64, 3)
    names = ["n02", "n01"]
    (root / "val").mkdir(parents=True)
    (root / "wnids.txt").write_text("n02\nn01\n")
    rows = []
    for i, name in enumerate(names):
        for j in range(2):
            path = root / "train" / name / "images" / f"{name}_{j}.JPEG"
            save(path, images[2 * i + j])
        save(root / "val" / "images" / f"val_{i}.JPEG", images[4 + i, ..., 0])
        rows.append(f"val_{i}.JPEG\t{name}\t0\t0\t9\t9")
    (root / "val" / "val_annotations.txt").write_text("\n".join(rows))
    return images


@pytest.mark.parametrize("inner", ["", "tiny-imagenet-200"])
def test_tiny_imagenet_is_read_as_it_is_unpacked(tmp_path: Path, inner):
    images = tiny_imagenet(tmp_path / inner)
    train = data.load(f"tiny-imagenet:{tmp_path}", "train")
    assert train.images.shape == (4, 3, 64, 64)
    assert train.labels.tolist() == [
        0,
        0,
        1,
        1,
    ]  # n01 is class 0 for any order of wnids
    # JPEG: close, but not equal.
    gap = train.images[0].mean((1, 2)) - images[2].mean((0, 1))
    assert np.abs(gap).max() < 2
    test = data.load(f"tiny-imagenet:{tmp_path}", "test")
    assert test.labels.tolist() == [1, 0]
    assert test.images.shape == (2, 3, 64, 64)
    assert np.array_equal(test.images[:, 0], test.images[:, 1])  # gray became color


def test_a_damaged_tiny_imagenet_is_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"wnids\.txt': No such file"):
        data.load(f"tiny-imagenet:{tmp_path}")
    tiny_imagenet(tmp_path)
    save(tmp_path / "val" / "images" / "val_0.JPEG", pixels(32, 32, 3))
    with pytest.raises(DataError, match=r"is \(32, 32, 3\), expected \(64, 64, 3\)"):
        data.load(f"tiny-imagenet:{tmp_path}")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn09\n")
    save(tmp_path / "val" / "images" / "val_0.JPEG", pixels(64, 64, 3))
    with pytest.raises(DataError, match="a label is -1"):
        data.load(f"tiny-imagenet:{tmp_path}")


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + sum_

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes([8, 0, 0, 0, 0]))
    content = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + content


BAD_IMAGES = {
    "a bomb": png(2**31 - 1, 2**31 - 1),
    "more than a warning": png(10_000, 10_000),
    "cut": png(9, 9)[:30],
    "empty": png(9, 9),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
}


@pytest.mark.parametrize("content", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_an_image_that_is_damaged_or_a_bomb_is_refused(tmp_path: Path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png': cannot be read"):
        image_folder.read_image(tmp_path / "a.png")
