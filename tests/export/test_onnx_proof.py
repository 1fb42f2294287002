"""The entry of an ONNX file that names its proof."""

import subprocess

import numpy as np
import onnx
import pytest

from export.onnx_proof import LENGTH, fingerprint, name_proof, proof_of
from export.to_onnx import write
from stars.files.writing import sha256
from stars.testing import random_graph, random_inputs
from targets.simulators.onnx_check import check_metadata
from targets.simulators.onnx_runtime import run_file

FIRST, SECOND = "0a" * 32, "1b" * 32


@pytest.fixture
def graph():
    return random_graph(np.random.default_rng(0), kind="vgg")


@pytest.fixture
def file(graph, tmp_path):
    write(graph, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_an_entry_is_metadata_and_leaves_the_fingerprint_as_it_was(graph, file):
    plain = file.read_bytes()
    before = fingerprint(file)
    assert before == sha256(file)
    assert proof_of(file) is None
    for digest in (FIRST, SECOND):
        name_proof(file, digest)
        assert proof_of(file) == digest
        assert fingerprint(file) == before
        assert file.read_bytes()[:-LENGTH] == plain
        entries = [(p.key, p.value) for p in onnx.load(file).metadata_props]
        assert [v for k, v in entries if k == "proof"] == [digest]
    check_metadata(file, graph)
    inputs = random_inputs(np.random.default_rng(1), graph, 2)
    assert run_file(file, inputs).decisions().shape == (2,)


def test_the_fingerprint_is_taken_by_hand_as_the_documentation_says(file):
    before = sha256(file)
    name_proof(file, FIRST)
    said = subprocess.check_output(f"head -c -75 '{file}' | sha256sum", shell=True)
    assert said.decode().split()[0] == before


def test_any_other_changed_byte_changes_the_fingerprint(file):
    before = fingerprint(file)
    name_proof(file, FIRST)
    content = bytearray(file.read_bytes())
    for place in (10, len(content) // 2, len(content) - LENGTH - 1):
        changed = content.copy()
        changed[place] ^= 1
        file.write_bytes(changed)
        assert fingerprint(file) != before


def test_only_an_onnx_file_has_such_an_entry(file, tmp_path):
    name_proof(file, FIRST)
    other = tmp_path / "net.nir"
    other.write_bytes(file.read_bytes())
    assert proof_of(other) is None
    assert fingerprint(other) == sha256(other)
