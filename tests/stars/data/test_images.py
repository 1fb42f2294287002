"""Sources of labeled images, and refused ones."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from stars.data import images as data
from stars.data.images import LabeledImages
from stars.errors import DataError

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# LabeledImages


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 1, 4, 4)), [0, 1], r"float64 \(2, 1, 4, 4\), expected uint8"),
        (pixels(2, 4, 4), [0, 1], r"\(2, 4, 4\), expected uint8 \[N, C, H, W\]"),
        (pixels(0, 1, 4, 4), [], "no image"),
        (pixels(2, 1, 4, 4), [0], r"labels are int64 \(1,\), expected integers \[2\]"),
        (pixels(2, 1, 4, 4), [[0], [1]], r"\(2, 1\), expected integers \[2\]"),
        (pixels(2, 1, 4, 4), [0.0, 1.0], "labels are float64"),
        (pixels(2, 1, 4, 4), [0, -1], "a label is -1; labels start at 0"),
    ],
)
def test_what_is_not_labeled_images_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        LabeledImages(images, np.array(labels))


def test_statistics_by_hand():
    """Pixels 0 and 255 in one channel, 51 = 0.2 in the other."""
    images = np.zeros((2, 2, 1, 1), np.uint8)
    images[1, 0], images[:, 1] = 255, 51
    mean, deviation = LabeledImages(images, np.array([0, 4])).statistics()
    assert mean == (0.5, 0.2)
    assert deviation == (0.5, 0.0)


def test_first_takes_as_many_as_there_are_and_at_least_one():
    both = LabeledImages(pixels(3, 1, 2, 2), np.array([0, 2, 1]))
    assert both.first(2).labels.tolist() == [0, 2]
    assert len(both.first(9)) == 3
    assert both.classes == 3
    with pytest.raises(DataError, match="at least 1 is needed"):
        both.first(0)


# The bundled images


def test_the_bundled_images_are_the_ten_thousand_that_were_packaged():
    test = data.load("fashion-mnist")
    assert test.images.shape == (10000, 1, 28, 28)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.labels[:5].tolist() == [9, 2, 1, 1, 6]


def test_a_bundled_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a.bin").write_bytes(b"changed")
    (tmp_path / "assets" / "SHA256SUMS").write_text(f"{'0' * 64}  a.bin\n")
    monkeypatch.setattr(data, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"'a.bin' has sha256 .* expected 0000"):
        data.read_asset("a.bin")
    with pytest.raises(DataError, match=r"'b.bin' is missing; reinstall"):
        data.read_asset("b.bin")


def test_no_training_images_are_bundled():
    with pytest.raises(DataError, match="only the test images are bundled"):
        data.load("fashion-mnist", "train")


# .npz


def test_an_npz_has_two_splits_or_one(tmp_path: Path):
    train, test = pixels(4, 1, 3, 3), pixels(2, 1, 3, 3)
    two = tmp_path / "two.npz"
    np.savez(two, x_train=train, y_train=[0, 1, 2, 0], x_test=test, y_test=[[1], [2]])
    assert np.array_equal(data.load(str(two), "train").images, train)
    loaded = data.load(str(two))
    assert np.array_equal(loaded.images, test)
    assert loaded.labels.tolist() == [1, 2]
    one = tmp_path / "one.npz"
    np.savez(one, images=test, labels=[0, 1])
    assert np.array_equal(data.load(str(one)).images, test)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 6), (2, 1, 5, 6)),
        ((2, 5, 6, 3), (2, 3, 5, 6)),
        ((2, 5, 6, 1), (2, 1, 5, 6)),
        ((2, 3, 5, 6), (2, 3, 5, 6)),
    ],
)
def test_channels_may_be_missing_first_or_last(tmp_path: Path, shape, expected):
    images = pixels(*shape)
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1])
    loaded = data.load(str(tmp_path / "a.npz")).images
    assert loaded.shape == expected
    corner = images[1, 2, 3] if shape[-1] == 3 else images.reshape(expected)[1, :, 2, 3]
    assert np.array_equal(loaded[1, :, 2, 3], np.atleast_1d(corner))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": pixels(2, 4, 4)}, r"holds \['x'\], expected x_test and y_test, or ima"),
        ({"images": pixels(2, 4, 4), "labels": [0]}, r"expected integers \[2\]"),
        ({"images": np.ones((2, 4, 4)), "labels": [0, 1]}, "expected uint8"),
    ],
)
def test_an_npz_with_other_arrays_is_refused(tmp_path: Path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(DataError, match=message):
        data.load(str(tmp_path / "a.npz"))


def test_an_npz_that_would_run_code_is_refused(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=np.array([print]), labels=[0])
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        data.load(str(tmp_path / "a.npz"))


def test_what_is_not_there_or_not_an_npz_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        data.load(str(tmp_path / "a.npz"))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        data.load(str(tmp_path / "b.npz"))
    np.save(tmp_path / "c.npy", pixels(2, 4, 4))
    (tmp_path / "c.npy").rename(tmp_path / "c.npz")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        data.load(str(tmp_path / "c.npz"))
    with pytest.raises(DataError, match=r"no such file or folder.*; allowed are"):
        data.load("imagenet")
    with pytest.raises(DataError, match="expected 'train' or 'test'"):
        data.load("fashion-mnist", "validation")


# Parts


def test_a_part_of_a_split_is_named_behind_the_data(tmp_path: Path):
    train, test = pixels(6, 1, 3, 3), pixels(4, 1, 3, 3)
    path = tmp_path / "two.npz"
    np.savez(path, x_train=train, y_train=range(6), x_test=test, y_test=range(4))
    for part, expected in {
        "@train": train,
        "@test": test,
        "@train[:2]": train[:2],
        "@train[2:5]": train[2:5],
        "@test[3:]": test[3:],
    }.items():
        assert np.array_equal(data.load(f"{path}{part}", "test").images, expected)
    assert data.load(f"{path}@train[2:5]").labels.tolist() == [2, 3, 4]
    for part in ("@train[:7]", "@train[3:3]", "@test[9:]"):
        with pytest.raises(DataError, match="expected a range within"):
            data.load(f"{path}{part}")
    with pytest.raises(DataError, match="no such file"):
        data.load(f"{path}@dev")


def test_what_is_measured_on_training_images_is_called_development():
    assert data.kind_of("fashion-mnist") == "test"
    assert data.kind_of("mnist:ROOT@test[:100]") == "test"
    assert data.kind_of("mnist:ROOT@train[:100]") == "development"


def test_the_share_of_images_that_another_set_holds_too():
    images = pixels(4, 1, 3, 3)
    one = LabeledImages(images, np.arange(4))
    other = LabeledImages(images[[3, 0]], np.arange(2))
    assert one.share_in(other) == 0.5
    assert other.share_in(one) == 1.0


# torchvision


def write_idx(path: Path, array: np.ndarray) -> None:
    """The format of MNIST: magic with the number of axes, sizes, bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(header + array.tobytes())


def test_a_torchvision_data_set_is_read_from_its_files(tmp_path: Path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = pixels(3, 28, 28), np.array([2, 0, 1], np.uint8)
    for split in ("train", "t10k"):
        write_idx(raw / f"{split}-images-idx3-ubyte", images)
        write_idx(raw / f"{split}-labels-idx1-ubyte", labels)
    loaded = data.load(f"mnist:{tmp_path}", "test")
    assert np.array_equal(loaded.images, images[:, None])
    assert loaded.labels.tolist() == [2, 0, 1]
    assert (loaded.name, loaded.class_names[7]) == ("mnist", "7 - seven")
    part = data.load(f"mnist:{tmp_path}@test[:2]").first(1)
    assert (part.name, part.class_names) == (loaded.name, loaded.class_names)


def write_cifar(root: Path, name: str, entries: dict[str, object]) -> None:
    """The pickles of CIFAR, 2 images each; torchvision checks their md5."""
    folder = (
        root / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    )
    folder.mkdir(parents=True)
    for file, entry in entries.items():
        (folder / file).write_bytes(pickle.dumps(entry))


@pytest.mark.parametrize(
    ("name", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")]
)
def test_cifar_is_read_in_color(tmp_path, monkeypatch, name, key):
    from torchvision import datasets  # noqa: PLC0415 - it imports torch

    kind = getattr(datasets, data.TORCHVISION[name])
    rows, labels = pixels(2, 3072), [1, 0]
    monkeypatch.setattr(kind, "train_list", [["train", ""]])
    monkeypatch.setattr(kind, "test_list", [["test", ""]])
    monkeypatch.setattr(kind, "_check_integrity", lambda _: True)
    monkeypatch.setattr(kind, "_load_meta", lambda self: setattr(self, "classes", "ab"))
    entry = {"data": rows, key: labels}
    write_cifar(tmp_path, name, {"train": entry, "test": entry})
    loaded = data.load(f"{name}:{tmp_path}", "train")
    assert np.array_equal(loaded.images, rows.reshape(2, 3, 32, 32))
    assert loaded.labels.tolist() == labels
    assert loaded.class_names == ("a", "b")


def test_a_torchvision_data_set_that_cannot_be_had_is_told(tmp_path, monkeypatch):
    from torchvision import datasets  # noqa: PLC0415 - it imports torch

    monkeypatch.setattr(
        datasets.CIFAR10, "download", mock.Mock(side_effect=RuntimeError("no network"))
    )
    with pytest.raises(DataError, match=r"the download failed \(no network\)"):
        data.load(f"cifar10:{tmp_path}", "test")
