"""The judgment of outputs, a reader of one's own, and this toolchain as a reader."""

import json
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from stars.errors import ConfigError
from targets.conformance.cases import CASES
from targets.conformance.environments import REQUIREMENTS
from targets.conformance.golden import Golden, read_suite
from targets.conformance.run import Report, judged, run

SUITE = Path(__file__).parents[3] / "conformance"

READER = """
from pathlib import Path
import numpy as np

def golden(path, dt, inputs):
    name = Path(path).stem
    output = np.load(Path(path).with_suffix(".npz"))["output"] * 1.0
    if name == "lif":
        output[3, 1, 2] = 1 - output[3, 1, 2]
    if name == "if":
        raise ValueError("no IF here")
    if name == "i":
        return output[:, :, :2]
    if name == "li":
        return np.load(Path(path).with_suffix(".npz"))["open/exponential decay"]
    return output
"""


def case(output, **openings):
    return Golden("rule", "source", Path("a.nir"), np.zeros(1), output, openings)


def test_spikes_must_be_equal_and_membranes_close():
    spikes = np.array([[[True, False]]])
    assert judged(np.array([[[1.0, 0.0]]]), case(spikes)).outcome == "right"
    assert judged(np.array([[[1.0, 1e-7]]]), case(spikes)).outcome == "wrong"
    volts = np.array([[[0.5, -0.25]]])
    assert judged(volts * (1 + 1e-7), case(volts)).outcome == "right"
    assert judged(volts * 1.001, case(volts)).outcome == "wrong"
    assert judged(volts * np.nan, case(volts)).outcome == "wrong"
    other = judged(volts * 2, case(volts, twice=volts * 2))
    assert (other.outcome, other.detail) == ("open", "twice")


def test_a_reader_of_ones_own_is_judged_case_by_case(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(READER)
    monkeypatch.chdir(tmp_path)
    cells = run(SUITE, ["mine:golden"]).cells["mine:golden"]
    _, golden = read_suite(SUITE)
    odd = {"lif": "wrong", "if": "refuses", "i": "wrong", "li": "open"}
    assert {n: c.outcome for n, c in cells.items()} == dict.fromkeys(
        golden, "right"
    ) | odd
    assert cells["lif"].detail.startswith(
        "1 of 96 values, first at step 3, sample 1, neuron (2,): "
    )
    assert cells["if"].detail == "ValueError: no IF here (mine.py)"
    assert cells["i"].detail == "shape (12, 2, 2), expected (12, 2, 4)"
    assert cells["li"].detail == "exponential decay"


@pytest.mark.slow
def test_this_toolchain_is_right_on_every_case(capsys):
    command = ["conformance", "run", "--cases", str(SUITE), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "stars.conformance/1"
    outcomes = {c["outcome"] for c in report["readers"]["ours"].values()}
    assert outcomes == {"right"}
    assert len(report["readers"]["ours"]) == len(report["rules"]) == 47


def test_wrong_spikes_are_exit_code_3_and_marked(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(READER)
    monkeypatch.chdir(tmp_path)
    asked = ["conformance", "run", "--cases", str(SUITE), "--reader", "mine:golden"]
    assert main([*asked, "--markdown"]) == 3
    text = capsys.readouterr().out
    assert "| `lif` | **wrong** |" in text
    assert main(asked) == 3
    assert (
        "mine:golden: 43 right, 2 wrong, 1 refuses, 1 open" in capsys.readouterr().out
    )


def test_unknown_readers_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="'nest' is unknown; there are norse, snn"):
        run(SUITE, ["nest"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"reader 'nowhere:f': .*No module named"):
        run(SUITE, ["nowhere:f"])


def test_the_suite_is_written_from_the_command_line(tmp_path, capsys):
    assert main(["conformance", "write", str(tmp_path / "new")]) == 0
    assert "new: 47 cases" in capsys.readouterr().out
    assert (tmp_path / "new" / "lif.npz").is_file()


def test_totals_name_the_most_frequent_outcome_first():
    cells = {"a": {n: judged(np.ones(1), case(np.ones(1))) for n in "xy"}}
    assert Report({}, cells).totals("a") == "2 right"


def test_the_table_of_the_documentation_has_every_case_and_reader():
    page = Path(__file__).parents[3] / "docs/results/conformance.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    (head,) = [line for line in lines if line.startswith("| case |")]
    readers = [cell.strip() for cell in head.split("|")[2:-1]]
    assert sorted(readers) == sorted(REQUIREMENTS)
    rows = {line.split("|")[1].strip(): line for line in lines if line.count("|") == 10}
    assert [f"`{name}`" for name in CASES] == [n for n in rows if n.startswith("`")]
    ours = 2 + readers.index("ours")
    cells = {row.split("|")[ours].strip() for n, row in rows.items() if n[0] == "`"}
    assert cells == {"right"}
