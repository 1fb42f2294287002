"""The finished run that ships with STARS."""

import json
import os

import pytest

import targets
from cli.main import main
from stars.data import bundled_run
from stars.data.bundled_run import NAME, unpack_bundled
from stars.errors import DataError
from stars.files.writing import sha256
from stars.grid.certificate import certify
from targets.subject import Subject


def test_it_is_unpacked_once_under_its_name_only(tmp_path):
    unpack_bundled(tmp_path / "another")
    assert list(tmp_path.iterdir()) == []
    unpack_bundled(tmp_path / "runs" / NAME)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [NAME]
    unpack_bundled(tmp_path / NAME)
    (tmp_path / NAME / "mine.txt").write_text("kept")
    unpack_bundled(tmp_path / NAME)
    assert (tmp_path / NAME / "mine.txt").read_text() == "kept"


def test_it_is_finished_certified_and_proved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    subject = Subject.open(tmp_path / NAME)
    assert certify(subject.graph).ok
    manifest = json.loads((tmp_path / NAME / "manifest.json").read_text())
    assert manifest["grid_accuracy"] > 0.89
    for name, digest in manifest["sha256"].items():
        file = tmp_path / NAME / name
        assert not file.exists() or sha256(file) == digest
    graph, proof = f"{NAME}/artifacts/student.nir", f"{NAME}/parity.json"
    assert main(["verify", graph, proof]) == 0
    proved = json.loads((tmp_path / proof).read_text())
    assert proved["ok"]
    assert "exact" in proved["certificate"]["verdict"]
    capsys.readouterr()


def test_its_parity_can_be_repeated_and_the_wide_proof_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = targets.parity(NAME, count=4, forced_images=0, on=["onnx", "loihi"])
    assert report.ok
    proved = json.loads((tmp_path / NAME / "parity.json").read_text())
    assert proved["images"] == 1000


def test_every_command_knows_it_by_its_name(tmp_path, monkeypatch):
    for command in (["report"], ["check"], ["export", "--out", "student.onnx"]):
        (tmp_path / command[0]).mkdir()
        monkeypatch.chdir(tmp_path / command[0])
        target = ["--target", "onnx"] if command[0] == "export" else []
        assert main([command[0], NAME, *command[1:], *target]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot unpack the bundled run to"):
        unpack_bundled(tmp_path / NAME)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled_run, "ASSET", "SHA256SUMS")
    with pytest.raises(DataError, match="reinstall"):
        unpack_bundled(tmp_path / NAME)
    assert list(tmp_path.iterdir()) == []
