"""`stars verify`: exit codes and output."""

import json

from cli.main import main


def test_it_passes_on_its_own_file_and_fails_on_another(proved, tmp_path, capsys):
    file, proof = proved / "artifacts" / "student.nir", proved / "parity.json"
    assert main(["verify", str(file), str(proof)]) == 0
    assert capsys.readouterr().out.startswith("PASS: the proof is of this file")
    other = tmp_path / "other.nir"
    other.write_bytes(b"other")
    assert main(["verify", str(other), str(proof), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "stars.verify/1"
    assert found["ok"] is False
