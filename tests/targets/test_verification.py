"""verify(file, proof): a proof is found by the bytes of its file."""

import json
import shutil

import pytest

from export.onnx_proof import name_proof
from stars.errors import FormatError
from stars.files.writing import write_json
from targets.verification import verify


@pytest.fixture
def received(proved, tmp_path):
    """The files that a customer gets, under names of its own."""
    for name in ("student.nir", "student.onnx"):
        shutil.copy(proved / "artifacts" / name, tmp_path / f"my_{name}")
    shutil.copy(proved / "parity.json", tmp_path / "proof.json")
    return tmp_path


def test_each_file_finds_its_proof_whatever_its_name(received):
    steps = {"my_student.nir": "reference, loihi", "my_student.onnx": "onnx"}
    for name in steps:
        found = verify(received / name, received / "proof.json")
        assert found.ok, found.verdict
        assert "PASS: the proof is of this file; 0 of" in found.verdict
        assert "on 5 images" in found.verdict
    assert found.targets == ("onnx",)


def test_a_changed_file_has_no_proof(received):
    file = received / "my_student.nir"
    file.write_bytes(file.read_bytes() + b"0")
    found = verify(file, received / "proof.json")
    assert not found.ok
    assert "FAIL: the proof is of other files: artifacts/student.nir" in found.verdict


def test_a_proof_of_a_difference_is_no_pass(received):
    path = received / "proof.json"
    proof = json.loads(path.read_text()) | {"ok": False}
    target = proof["targets"][0]
    target |= {"ok": False, "spike_mismatches": 1}
    target["layers"][0] |= {"spike_mismatches": 1, "mismatches_by_step": [1, 0, 0, 0]}
    write_json(path, proof)
    found = verify(received / "my_student.nir", path)
    assert not found.ok
    assert "says that it differs: loihi" in found.verdict


def test_an_onnx_file_that_names_another_proof_says_so(received):
    name_proof(received / "my_student.onnx", "ab" * 32)
    found = verify(received / "my_student.onnx", received / "proof.json")
    assert found.ok
    assert f"the file names another proof, {'ab' * 32}" in found.verdict


def test_a_proof_without_files_and_missing_files_are_refused(received):
    path = received / "proof.json"
    proof = json.loads(path.read_text()) | {"schema": "stars.parity/1"}
    del proof["origin"]
    write_json(path, proof)
    with pytest.raises(FormatError, match="names no file: it has schema 1"):
        verify(received / "my_student.nir", path)
    with pytest.raises(FormatError, match="no such file"):
        verify(received / "gone.nir", path)
