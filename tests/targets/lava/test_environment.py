"""Finding a Python 3.10, and never taking a half-made environment for a good one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stars.errors import ConfigError, MissingDependencyError, TargetError
from stars.files.writing import sha256
from targets.lava import environment, interpreter

WORKS = "#!/bin/sh\necho 3.10\n"
SHIM = "#!/bin/sh\necho 'pyenv: python3.10: command not found' >&2\nexit 127\n"
NEWER = "#!/bin/sh\necho 3.12\n"


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two folders on PATH, no pyenv and no uv."""
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{tmp_path}/second")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("STARS_LAVA_ENV", str(tmp_path / "env"))
    monkeypatch.delenv("STARS_LAVA_PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "ours" / "python"))
    return tmp_path


def test_a_shim_that_fails_does_not_hide_the_python_behind_it(machine: Path) -> None:
    executable(machine / "first" / "python3.10", SHIM)
    real = executable(machine / "second" / "python3.10", WORKS)
    assert interpreter.find_interpreter() == real


def test_pyenv_is_tried_when_path_has_only_the_shim(machine: Path) -> None:
    executable(machine / "first" / "python3.10", SHIM)
    executable(machine / "pyenv/versions/3.11.7/bin/python", NEWER)
    real = executable(machine / "pyenv/versions/3.10.13/bin/python", WORKS)
    assert interpreter.find_interpreter() == real


def test_the_chosen_python_is_the_only_one_tried(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(machine / "first" / "python3.10", WORKS)
    chosen = executable(machine / "chosen", NEWER)
    monkeypatch.setenv("STARS_LAVA_PYTHON", str(chosen))
    with pytest.raises(MissingDependencyError) as caught:
        interpreter.find_interpreter()
    assert f"{chosen}: is Python 3.12, not 3.10" in str(caught.value)
    assert "first" not in str(caught.value)


def test_without_any_python_the_message_says_what_was_tried(machine: Path) -> None:
    shim = executable(machine / "first" / "python3.10", SHIM)
    with pytest.raises(MissingDependencyError) as caught:
        interpreter.find_interpreter()
    message = str(caught.value)
    assert f"{shim}: does not run (pyenv: python3.10: command not found)" in message
    assert "uv: not installed" in message
    assert "STARS_LAVA_PYTHON" in message


def test_uv_downloads_one_when_nothing_else_is_there(machine: Path) -> None:
    real = executable(machine / "managed" / "python", WORKS)
    marker = machine / "downloaded"
    executable(
        machine / "ours" / "uv",
        "#!/bin/sh\n"
        f'if [ "$2" = install ]; then : > {marker}; exit; fi\n'
        f"if [ -e {marker} ]; then echo {real}; else exit 2; fi\n",
    )
    assert interpreter.find_interpreter() == real
    assert marker.exists()


def test_a_python_that_hangs_is_refused(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(machine / "first" / "python3.10", "#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(interpreter, "_PROBE_SECONDS", 0.2)
    with pytest.raises(MissingDependencyError, match="no answer"):
        interpreter.find_interpreter()


def test_a_missing_environment_says_the_command_that_makes_it(machine: Path) -> None:
    with pytest.raises(MissingDependencyError, match="run 'stars lava setup'"):
        environment.lava_python()
    assert not (machine / "env").exists()


def ready_environment(root: Path, **changes: str) -> None:
    executable(root / "bin" / "python", WORKS)
    marker = {
        "state": "ready",
        "requirements": sha256(environment.REQUIREMENTS),
        "python_version": "3.10.13",
        "packages": {"lava-nc": "0.10.0"},
    }
    (root / environment.MARKER).write_text(json.dumps(marker | changes))


def test_a_ready_environment_gives_its_python_and_is_not_made_again(
    machine: Path,
) -> None:
    ready_environment(machine / "env")
    lines: list[str] = []
    assert environment.setup(lines.append).packages == {"lava-nc": "0.10.0"}
    assert environment.lava_python() == machine / "env" / "bin" / "python"
    assert lines == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "building"}, "is incomplete"),
        ({"requirements": "of another version"}, "was made for other versions"),
    ],
)
def test_an_environment_that_is_not_as_it_should_be_is_not_used(
    machine: Path, changes: dict[str, str], reason: str
) -> None:
    ready_environment(machine / "env", **changes)
    assert environment.status().reason == reason
    with pytest.raises(MissingDependencyError, match=reason):
        environment.lava_python()


def test_a_marker_that_was_damaged_means_incomplete(machine: Path) -> None:
    ready_environment(machine / "env")
    (machine / "env" / environment.MARKER).write_text('{"state": "rea')
    assert environment.status().reason == "is incomplete"


def test_setup_never_replaces_a_folder_that_is_not_ours(machine: Path) -> None:
    precious = machine / "env" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(ConfigError, match="was not made by stars"):
        environment.setup(print)
    assert precious.read_text() == "years of work"


def test_an_installation_that_fails_leaves_an_incomplete_environment(
    machine: Path,
) -> None:
    """The interpreter answers the probe and then cannot make an environment."""
    executable(
        machine / "first" / "python3.10",
        "#!/bin/sh\n"
        'if [ "$2" = -c ]; then echo 3.10; exit; fi\n'
        "echo no disk >&2; exit 1\n",
    )
    with pytest.raises(TargetError, match="no disk"):
        environment.setup(lambda _line: None)
    assert environment.status().reason == "is incomplete"


@pytest.mark.lava
def test_the_environment_runs_lava_and_not_our_packages(lava_python: Path) -> None:
    code = "from lava.proc.lif.process import LIF; import stars"
    result = interpreter.run([str(lava_python), "-I", "-c", code], timeout=60)
    assert "No module named 'stars'" in result.stderr


@pytest.mark.parametrize(
    ("required", "outcome"), [("0", "1 skipped"), ("1", "1 error")]
)
def test_a_missing_environment_skips_a_test_unless_lava_is_required(
    required: str, outcome: str, tmp_path: Path
) -> None:
    this = f"{__file__}::test_the_environment_runs_lava_and_not_our_packages"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", this],
        cwd=Path(__file__).parents[3],
        env={
            **os.environ,
            "STARS_LAVA_ENV": str(tmp_path / "nothing"),
            "STARS_REQUIRE_LAVA": required,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in result.stdout
