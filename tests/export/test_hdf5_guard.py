"""HDF5 of strangers: read elsewhere, held against limits, never led out of the file."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest

from export import hdf5_tree
from export.from_nir import read
from export.hdf5_guard import Server, read_guarded, result_of
from stars.errors import FormatError


def test_numbers_texts_and_groups_come_back_as_they_were_written(tmp_path):
    values = {
        "f": np.arange(6.0).reshape(2, 3),
        "i": np.array([1, -2], "i2"),
        "big": np.array([1.5], ">f4"),
        "none": np.zeros((0, 3)),
        "scalar": np.int64(7),
        "yes": np.bool_(True),
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in values.items():
            file[f"group/{name}"] = value
        file["text"] = "Grüße"
        file["edges"] = [("a", "b"), ("b", "c")]
        file.create_dataset("packed", data=np.ones(999), compression="gzip")
    found = read_guarded(tmp_path / "a.h5")
    assert found["text"] == "Grüße"
    assert found["edges"].tolist() == [["a", "b"], ["b", "c"]]
    assert found["packed"].tolist() == [1.0] * 999
    for name, value in values.items():
        np.testing.assert_array_equal(found["group"][name], value)
        assert np.asarray(found["group"][name]).dtype == value.dtype


def soft(file):
    file["x"] = h5py.SoftLink("/y")


def external(file):
    file["x"] = h5py.ExternalLink("/etc/passwd", "/")


def itself(file):
    file["x/y"] = 1
    file["x/z"] = file["x"]


def deep(file):
    file["/".join("abcdefgh" * 6)] = 1


def outside(file):
    file.create_dataset("x", (3,), "u1", external=[("/etc/passwd", 0, 3)])


def virtual(file):
    layout = h5py.VirtualLayout((3,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("x", layout)


def huge(file):
    file.create_dataset("x", (10**12,), "f8", chunks=(1000,))


def one_chunk(file):
    file.create_dataset("x", (8,), "f8", chunks=(2**27,), maxshape=(None,))


def unstored(file):
    file.create_dataset("x", (10_000,), "f8", fillvalue=1.0)


def reference(file):
    file["y"] = 1
    file.create_dataset("x", data=file["y"].ref, dtype=h5py.ref_dtype)


def record(file):
    file["x"] = np.zeros(2, [("a", "f8"), ("b", "i4")])


def a_filter(file):
    file.create_dataset("x", data=np.ones(99, "i4"), scaleoffset=4, chunks=(99,))


def nothing(file):
    file["x"] = h5py.Empty("f8")


def named_type(file):
    file["x"] = np.dtype("f8")


REFUSED = {
    soft: "is a link",
    external: "is a link",
    itself: "contains itself",
    deep: "too deep",
    outside: "data in another file",
    virtual: "data in another file",
    huge: "declares 8000000000000 bytes, 0 are stored",
    one_chunk: "declares",
    unstored: "declares 80000 bytes, 0 are stored",
    reference: "not numbers or text",
    record: "not numbers or text",
    a_filter: "needs the filters",
    nothing: "holds nothing",
    named_type: "neither a group nor a dataset",
}


@pytest.mark.parametrize(("make", "message"), REFUSED.items())
def test_what_is_not_read_from_files_of_strangers(tmp_path, make, message):
    with h5py.File(tmp_path / "a.nir", "w") as file:
        make(file)
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path / "a.nir")
    assert "a.nir: " in str(caught.value)


def test_no_object_is_left_out_of_the_count(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(5):
            file[f"g/{number}"] = 1
    monkeypatch.setattr(hdf5_tree, "OBJECTS", 5)
    with pytest.raises(hdf5_tree.RefusedError, match="more than 5 objects"):
        hdf5_tree.read_tree(str(tmp_path / "a.h5"))


PROGRAM = """
import os, signal, sys
from pathlib import Path
from export import hdf5_tree
hdf5_tree.limit({seconds})
hdf5_tree.read_tree = lambda _: {happen}
hdf5_tree.answer("", Path(sys.argv[1]))
"""
ENDS = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", 60, "crashes the HDF5 library"),
    "hang": ("signal.pause()", 1, "took longer than 1 s"),
    "memory": ("bytearray(2**40)", 60, "takes more than"),
}


@pytest.mark.parametrize(
    ("happen", "seconds", "message"), ENDS.values(), ids=ENDS.keys()
)
def test_what_happens_to_the_reading_process_is_one_clear_error(
    tmp_path, happen, seconds, message
):
    """The process as the server forks it; in libhdf5's place something happens."""
    program = PROGRAM.format(happen=happen, seconds=seconds)
    ended = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    with pytest.raises(FormatError, match=message):
        result_of(ended.returncode, tmp_path, seconds)


def test_a_server_that_ended_is_started_again(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 3
    server = Server()
    request = [str(tmp_path / "a.h5"), str(tmp_path), 4]
    try:
        assert server.ask(request) == 0
        first = server.process
        first.kill()
        first.communicate()
        assert server.ask(request) == 0
        assert server.process is not first
    finally:
        server.close()
