"""What every command owes its caller: exit code, one JSON object, clean streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import cli.main
from cli.main import main
from stars.errors import (
    ConfigError,
    DataError,
    FormatError,
    GraphError,
    LimitError,
    MissingDependencyError,
    StarsError,
    TargetError,
    UnsupportedNodeError,
)


@pytest.fixture
def no_lava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which 'stars lava setup' was never run and cannot succeed."""
    monkeypatch.setenv("STARS_LAVA_ENV", str(tmp_path / "lava"))
    monkeypatch.setenv("STARS_LAVA_PYTHON", str(tmp_path / "no-python"))
    return tmp_path / "lava"


def command_that_raises(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        """Fail."""
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DataError("x"), 2),
        (FormatError("x"), 2),
        (GraphError("x"), 2),
        (UnsupportedNodeError("x"), 4),
        (LimitError("x", ["too many weights"]), 4),
        (MissingDependencyError("x"), 5),
        (TargetError("x"), 1),
        (StarsError("x"), 1),
        (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_failure_has_its_exit_code_and_no_traceback(
    error: BaseException,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(cli.main.COMMANDS, "fail", command_that_raises(error))
    assert main(["fail"]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "Traceback" not in streams.err
    if isinstance(error, Exception):
        assert streams.err.startswith("error: ")


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = command_that_raises(ConfigError("no such thing"))
    monkeypatch.setitem(cli.main.COMMANDS, "fail", failing)
    assert main(["--debug", "fail"]) == 2
    streams = capsys.readouterr().err
    assert "Traceback" in streams
    assert streams.endswith("error: no such thing\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        ["doctor", "--no-such-option"],
        ["doctor", "--require", "no-such-capability"],
        ["doctor", "unexpected-argument"],
        ["lava", "no-such-command"],
    ],
)
def test_wrong_usage_exits_with_2_and_prints_no_data(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err


def test_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"stars {version('stars-snn')}\n"


@pytest.mark.parametrize("name", [*cli.main.COMMANDS, *cli.main.GROUPS])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert name in capsys.readouterr().out


def test_every_group_says_what_it_is_for() -> None:
    assert cli.main.GROUP_HELP.keys() == cli.main.GROUPS.keys()


def test_doctor_finds_the_core_working(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--load", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "stars.doctor/1"
    assert report["capabilities"]["core"] is True
    assert report["devices"][0] == "cpu"
    core = [row for row in report["findings"] if row["capability"] == "core"]
    assert {"python", "torch", "norse", "nir"} <= {row["name"] for row in core}
    assert all(row["version"] and not row["problem"] for row in core)


@pytest.mark.usefixtures("no_lava")
def test_doctor_names_the_command_that_mends_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["capabilities"]["lava"] is False
    (lava,) = [row for row in report["findings"] if row["capability"] == "lava"]
    assert lava["problem"] == "its environment is missing"
    assert lava["remedy"] == "stars lava setup"
    assert main(["doctor"]) == 0
    assert "stars lava setup" in capsys.readouterr().out


def test_targets_says_of_each_whether_it_can_run_and_why_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["targets", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "stars.targets/1"
    rows = {row["name"]: row for row in report["targets"]}
    assert rows["reference"]["available"] is True
    assert all(row["available"] is (row["problem"] is None) for row in rows.values())
    assert main(["targets"]) == 0
    assert "reference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["doctor"], 0),
        (["targets"], 0),
        (["compare", "one"], 2),
        (["distill", "--out", "new", "--preset", "quik"], 2),
        (["energy", "nowhere"], 2),
        (["parity", "nowhere"], 2),
        (["report", "nowhere"], 2),
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(arguments, code, tmp_path):
    script = (
        "import sys; from cli.main import main; code = main(sys.argv[1:]);"
        " print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == "False"


@pytest.mark.usefixtures("no_lava")
def test_doctor_fails_without_what_is_required() -> None:
    assert main(["doctor", "--require", "lava"]) == 5


def test_lava_status_exits_with_5_without_an_environment(
    no_lava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lava", "status", "--json"]) == 5
    streams = capsys.readouterr()
    report = json.loads(streams.out)
    assert report["schema"] == "stars.lava/1"
    assert report["ready"] is False
    assert report["root"] == str(no_lava)
    assert "stars lava setup" in streams.err


def test_lava_setup_without_a_python_3_10_says_so_and_leaves_nothing(
    no_lava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lava", "setup"]) == 5
    assert "no Python 3.10 for Lava" in capsys.readouterr().err
    assert not no_lava.exists()


@pytest.mark.usefixtures("no_lava")
def test_quiet_silences_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet", "lava", "status"]) == 5
    assert capsys.readouterr().err == ""


NETWORKS = {"torch", "norse", "onnx", "onnxruntime", "lava"}
HEAVY = NETWORKS | {"scipy", "numpy", "targets", "h5py"}


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], HEAVY | {"pydantic"}),
        (["parity", "--help"], HEAVY),
        (["distill", "--help"], HEAVY),
        (["energy", "--help"], HEAVY),
        (["targets"], NETWORKS),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments, unwanted) -> None:
    """So `--help` answers at once, and a listing loads no simulator."""
    code = (
        f"import sys; from cli.main import main; main({arguments!r}); "
        f"heavy = {unwanted!r} & set(sys.modules); "
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout
