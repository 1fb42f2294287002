"""Files are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from stars.errors import DataError
from stars.files.writing import atomic, check_writable, sha256, write_json, write_text


def test_a_file_appears_whole_with_its_folders(tmp_path: Path):
    path = tmp_path / "a" / "b" / "c.json"
    write_json(path, {"x": [1, 2]})
    assert json.loads(path.read_text()) == {"x": [1, 2]}
    assert [p.name for p in path.parent.iterdir()] == ["c.json"]


def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_until_it_is_complete_a_reader_sees_the_old_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_who_reads_the_old_file_reads_it_to_the_end(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new and longer")
        assert reader.read() == "old"


def test_a_writer_that_cannot_write_is_told_with_the_files_name(tmp_path: Path):
    with (
        pytest.raises(DataError, match=r"cannot write .*a\.txt.*disk is full"),
        atomic(tmp_path / "a.txt"),
    ):
        raise OSError("disk is full")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_sha256_is_that_of_the_bytes(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for folder in (Path("/proc/self"), tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(DataError, match="cannot write to"):
            check_writable(folder)
    check_writable(tmp_path / "new" / "newer")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
