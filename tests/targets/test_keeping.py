"""A small check keeps a big proof."""

import json
import shutil

import pytest

import targets.api
from cli.main import main
from export.from_nir import read
from export.onnx_proof import proof_of
from export.to_nir import write
from export.to_onnx import write as write_onnx
from stars.errors import DataError
from stars.files.writing import sha256
from stars.grid.quantization import quantization

TWO = ("--target", "loihi", "--target", "onnx")


@pytest.fixture
def run(proved, tmp_path):
    return shutil.copytree(proved, tmp_path / "run")


def called(*arguments):
    return main(["--quiet", *map(str, arguments)])


SMALLER = {
    "fewer images": ["--images", 2, *TWO],
    "fewer targets": ["--target", "loihi"],
    "other steps": ["--steps", 3, "--target", "loihi", "--target", "norse"],
}


@pytest.mark.parametrize("arguments", SMALLER.values(), ids=SMALLER)
def test_a_smaller_check_is_put_beside_a_wider_proof(run, caplog, arguments):
    proof = (run / "parity.json").read_bytes()
    assert called("parity", run, *arguments) == 0
    assert (run / "parity.json").read_bytes() == proof
    assert json.loads((run / "parity-last.json").read_text())["ok"] is True
    assert "parity.json stays, because it is wider (loihi: 5, onnx: 5)" in caplog.text
    assert proof_of(run / "artifacts/student.onnx") == sha256(run / "parity.json")


def test_replace_overwrites_it(run):
    assert called("parity", run, "--images", 2, *TWO, "--replace") == 0
    assert json.loads((run / "parity.json").read_text())["images"] == 2
    assert not (run / "parity-last.json").exists()
    proof = sha256(run / "parity.json")
    assert proof_of(run / "artifacts" / "student.onnx") == proof


def test_as_wide_or_wider_replaces(run):
    before = (run / "parity.json").read_bytes()
    assert called("parity", run, *TWO, "--target", "norse") == 0
    assert (run / "parity.json").read_bytes() != before
    assert not (run / "parity-last.json").exists()


def test_a_substitute_that_fails_on_purpose_destroys_no_proof(run, tmp_path):
    before = (run / "parity.json").read_bytes()
    other = tmp_path / "other.nir"
    write(quantization(read(run / "artifacts/student.nir"), bits=2).graph, other)
    assert called("parity", run, *TWO, "--substitute", f"loihi={other}") == 3
    assert (run / "parity.json").read_bytes() == before
    assert json.loads((run / "parity-last.json").read_text())["ok"] is False


def test_a_mismatch_of_the_network_itself_is_never_put_aside(run):
    graph = read(run / "artifacts/student.nir")
    wrong = quantization(graph, bits=2).graph
    write_onnx(wrong, run / "artifacts/student.onnx")
    assert called("parity", run, "--images", 1, "--target", "onnx") == 3
    assert json.loads((run / "parity.json").read_text())["ok"] is False


def test_the_proof_of_another_file_is_replaced(run):
    path = run / "artifacts/student.nir"
    write(quantization(read(path), bits=3).graph, path)
    assert called("parity", run, "--images", 1, "--target", "loihi") == 0
    assert json.loads((run / "parity.json").read_text())["images"] == 1


def test_energy_keeps_the_wider_one_too(run, caplog):
    before = (run / "energy.json").read_bytes()
    assert called("energy", run, "--images", 2, "--table", "horowitz45") == 0
    assert (run / "energy.json").read_bytes() == before
    assert (run / "energy-last.json").is_file()
    assert "energy.json stays, because it is wider (horowitz45: 5)" in caplog.text
    assert called("energy", run, "--table", "loihi1", "--replace") == 0
    found = json.loads((run / "energy.json").read_text())
    assert [one["table"]["name"] for one in found["estimates"]] == ["loihi1"]


@pytest.mark.parametrize("call", [targets.api.parity, targets.api.energy])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_work(
    run, monkeypatch, call
):
    def refuse(folder):
        raise DataError(f"cannot write to '{folder}'")

    def ran(*_):
        pytest.fail("it ran")

    monkeypatch.setattr(targets.api, "check_writable", refuse)
    with pytest.raises(DataError, match="cannot write to"):
        call(run, progress=ran)
