"""Arrays of strangers: nothing is unpickled, nothing is allocated that is not there."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from stars.errors import DataError, FormatError
from stars.files.npz import ALWAYS, PER_BYTE, read_npy, read_npz
from targets.inputs import read_array


def header(shape: str, kind: str = "<f8") -> bytes:
    """An .npy file that claims `shape` and holds 8 bytes."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"
    size = len(text).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + size + text.encode() + bytes(8)


def test_arrays_come_back_as_they_were_written(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3).T,
        "b": np.array("text"),
        "c": np.zeros((0, 3), np.uint8),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


CLAIMS = {
    "a million million values": (header("(1000000000000,)"), "claims float64"),
    "less than none": (header("(-1,)"), "claims"),
    "objects": (header("(1,)", "|O"), "only numbers and text are allowed"),
    "records": (header("(1,)", "|V8"), "only numbers and text are allowed"),
    "no shape": (header("'x'"), "not a readable"),
    "a null in its header": (header("(1,)\0"), "not a readable"),
    "an open bracket": (header("((((1,)"), "not a readable"),
    "nothing": (b"", "not a readable"),
}


@pytest.mark.parametrize(("content", "message"), CLAIMS.values(), ids=CLAIMS.keys())
def test_an_array_that_cannot_be_is_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(FormatError, match=message):
            read(tmp_path / name)
        with pytest.raises(DataError, match=message):
            read_array(tmp_path / name)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(ALWAYS // 2**24 + 4):
            member.write(bytes(2**24))
    assert PER_BYTE * len(file.getvalue()) < 2**25
    (tmp_path / "bomb.npz").write_bytes(file.getvalue())
    with pytest.raises(FormatError, match=r"unpacks to .* are allowed"):
        read_npz(tmp_path / "bomb.npz")


def test_a_member_that_is_packed_in_another_way_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("images.npy", header("(1,)"))
    with pytest.raises(FormatError, match=r"compression .* is not supported"):
        read_npz(tmp_path / "a.npz")
