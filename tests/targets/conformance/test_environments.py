"""Environments of readers: built once, and failures are told."""

import sys
from pathlib import Path

import pytest

from stars.errors import ConfigError, MissingDependencyError
from targets.conformance import environments
from targets.conformance.environments import MARKER, REQUIREMENTS, python_of
from targets.conformance.readers import READERS


def test_every_reader_has_its_requirements_pinned():
    assert REQUIREMENTS.keys() == READERS.keys()
    for packages in REQUIREMENTS.values():
        assert all("==" in package for package in packages)


def test_ours_and_ones_own_run_in_this_environment():
    said = []
    assert python_of("ours", said.append) == Path(sys.executable)
    assert python_of("module:function", said.append) == Path(sys.executable)
    assert not said
    with pytest.raises(ConfigError, match="reader 'nest' is unknown"):
        python_of("nest", said.append)


def test_an_environment_is_built_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STARS_CONFORMANCE_ENV", str(tmp_path))
    built, said = [], []
    monkeypatch.setattr(
        environments,
        "install",
        lambda root, packages: (built.append((root, packages)), root.mkdir()),
    )
    first = python_of("norse", said.append)
    assert first == python_of("norse", said.append)
    ((root, packages),) = built
    assert first == root / "bin" / "python"
    assert root.parent == tmp_path
    assert packages == REQUIREMENTS["norse"]
    assert said == [f"norse: installing {', '.join(packages)}"]
    (root / MARKER).unlink()  # an interrupted installation
    python_of("norse", said.append)
    assert len(built) == 2


def test_a_failed_installation_is_told_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("STARS_CONFORMANCE_ENV", str(tmp_path))
    monkeypatch.setattr(
        environments, "REQUIREMENTS", {"none": (f"{tmp_path}/no_such_package",)}
    )
    for _ in range(2):
        with pytest.raises(MissingDependencyError, match="uv pip failed for"):
            python_of("none", lambda _: None)
    assert not list(tmp_path.glob(f"*/{MARKER}"))


def test_without_uv_the_error_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("STARS_CONFORMANCE_ENV", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="readers need uv"):
        python_of("norse", lambda _: None)
