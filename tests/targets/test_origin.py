"""A result is bound to the bytes of the files that ran."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from cli.main import main
from export.from_nir import read
from export.onnx_proof import fingerprint, proof_of
from export.to_nir import write
from stars.errors import DataError
from stars.files.writing import sha256, write_json
from stars.grid.quantization import quantization
from targets.api import parity
from targets.report.collect import collect
from targets.report.model_card import model_card
from targets.report.page import report_html
from targets.report.sentences import verdict
from targets.report.side_by_side import side_by_side
from targets.simulators import reference as simulator

NIR, ONNX = "artifacts/student.nir", "artifacts/student.onnx"


@pytest.fixture
def run(proved, tmp_path):
    return shutil.copytree(proved, tmp_path / "run")


def content(run, name="parity"):
    return json.loads((run / f"{name}.json").read_text())


def refuse(run, reason):
    """Every reader refuses the proof of this run."""
    report = collect(run)
    said = verdict(report)
    assert said.state == "unknown"
    assert said.sentence == f"Not proved for this file: run `stars parity {run}`"
    assert reason in said.detail
    assert report.parity is None
    for text in (report_html(report, None), model_card(report)):
        assert "Exact on" not in text
        assert "Not proved for this file" in text
    assert report.proof.sha256 not in model_card(report)
    assert side_by_side([report, report]).verdicts == ("unknown", "unknown")
    return report


def test_a_proof_names_files_inputs_and_version(run):
    found = content(run)
    origin = found["origin"]
    assert found["schema"] == "stars.parity/2"
    assert (origin["steps"], origin["inputs"]) == (4, 5)
    files = {one["file"]: one for one in origin["files"]}
    assert files[NIR]["sha256"] == sha256(run / NIR)
    assert files[NIR]["targets"] == ["loihi", "reference"]
    assert files[ONNX]["sha256"] == fingerprint(run / ONNX)
    assert files[ONNX]["targets"] == ["onnx"]
    energy = content(run, "energy")["origin"]
    assert energy["inputs_sha256"] == origin["inputs_sha256"]
    assert [one["file"] for one in energy["files"]] == [NIR]


def test_the_hash_of_images_is_that_of_their_bytes(proved):
    images = np.load(proved.parent / "test.npz")["images"]
    expected = hashlib.sha256(images.tobytes()).hexdigest()
    assert content(proved)["origin"]["inputs_sha256"] == expected
    two = parity(proved / NIR, images[:2], on=["loihi"]).origin
    assert two.inputs_sha256 == hashlib.sha256(images[:2].tobytes()).hexdigest()
    assert two.inputs == 2
    assert [one.file for one in two.files] == ["student.nir"]


def test_the_card_and_the_onnx_file_name_the_proof(run):
    report = collect(run)
    assert verdict(report).state == "exact"
    digest = sha256(run / "parity.json")
    assert report.proof.sha256 == digest == proof_of(run / ONNX)
    assert digest in model_card(report)
    assert {one.state for one in report.provenance.artifacts} == {"unchanged"}


def test_a_file_that_was_quantized_after_its_proof_is_not_proved(run):
    """The accuracy of the network before is not that of this file either."""
    write(quantization(read(run / NIR), bits=3).graph, run / NIR)
    report = refuse(run, "is another file than the one that ran")
    assert report.energy is None
    assert report.accuracies.grid is None


def test_a_file_that_was_deleted_after_its_proof_is_not_proved(run):
    (run / NIR).unlink()
    assert refuse(run, "is gone").energy is None


def test_an_onnx_file_that_changed_after_its_proof_is_not_proved(run):
    (run / ONNX).write_bytes((run / ONNX).read_bytes() + b" ")
    report = refuse(run, "student.onnx")
    assert report.energy is not None  # it ran the NIR file alone


def test_a_proof_of_another_run_is_not_taken(run):
    found = content(run)
    found["origin"]["files"] = found["origin"]["files"][1:]
    write_json(run / "parity.json", found)
    refuse(run, "did not run")


def test_another_number_of_steps_is_no_proof_of_the_file(run):
    arguments = ["--target", "loihi", "--steps", "3", "--replace"]
    assert main(["--quiet", "parity", str(run), *arguments]) == 0
    refuse(run, "another network")


def test_an_export_of_the_same_network_keeps_its_proof(run):
    for target in ("nir", "onnx"):
        assert main(["--quiet", "export", str(run), "--target", target]) == 0
    assert verdict(collect(run)).state == "exact"


def test_schema_1_is_read_and_called_unbound(run):
    for name in ("parity", "energy"):
        found = content(run, name) | {"schema": f"stars.{name}/1"}
        del found["origin"]
        write_json(run / f"{name}.json", found)
    report = collect(run)
    said = verdict(report)
    assert said.state == "unknown"
    assert "Not bound to this file" in said.sentence
    assert "Exact on 2 targets" in said.detail
    assert report.parity is not None
    assert any("energy.json names no file" in one for one in report.warnings)


def test_a_file_that_changes_while_it_runs_has_no_result(run, monkeypatch):
    before = (run / "parity.json").read_bytes()
    original = simulator.ReferenceTarget.run

    def swap(self, graph, inputs, forced=None):
        (run / NIR).write_bytes(b"another")
        return original(self, graph, inputs, forced)

    monkeypatch.setattr(simulator.ReferenceTarget, "run", swap)
    with pytest.raises(DataError, match="changed while it ran"):
        parity(run, on=["reference", "loihi"], against="loihi")
    assert (run / "parity.json").read_bytes() == before


@pytest.mark.parametrize("command", ["parity", "energy", "check", "report", "export"])
def test_a_manifest_of_a_newer_version_is_refused(run, capsys, command):
    path = run / "manifest.json"
    write_json(path, json.loads(path.read_text()) | {"schema": 2})
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert main([command, str(run)]) == 2
    assert "has schema 2, this version of stars reads 1" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_other_versions_are_noted(run):
    path = run / "manifest.json"
    found = json.loads(path.read_text())
    found["versions"]["stars-snn"] = "0.0.1"
    write_json(path, found)
    proof = content(run)
    proof["origin"]["stars_version"] = "0.0.2"
    write_json(run / "parity.json", proof)
    said = " ".join(collect(run).warnings)
    assert "stars 0.0.1 made the run" in said
    assert "stars 0.0.2 made parity.json" in said
