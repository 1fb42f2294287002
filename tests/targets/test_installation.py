"""The doctor's knowledge: a package that is missing or broken is said to be so."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from targets import installation


def test_what_we_look_at_is_what_we_depend_on() -> None:
    """Nobody adds a dependency that the doctor does not know, or the reverse."""
    required = {
        line.partition(">")[0]
        for line in importlib.metadata.requires("stars-snn") or []
        if "extra ==" not in line
    }
    known = set(installation.PACKAGES["core"])
    assert known <= required
    # Without these the program cannot say anything at all.
    assert required - known == {"platformdirs", "rich", "typer"}


def package_in_core() -> installation.Finding:
    """The finding of the one package that a test put there."""
    core = [f for f in installation.examine(load=True) if f.capability == "core"]
    (finding,) = [f for f in core if f.name != "python"]
    return finding


def test_a_missing_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(installation.PACKAGES, "core", {"no-such-package": "nothing"})
    finding = package_in_core()
    assert finding.problem == "not installed"
    assert finding.remedy == "pip install --upgrade stars-snn"


def test_a_missing_extra_names_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(installation.PACKAGES, "onnx", {"no-such-package": "nothing"})
    (finding,) = [f for f in installation.examine(load=True) if f.capability == "onnx"]
    assert finding.problem == "not installed"
    assert finding.remedy == "pip install 'stars-snn[onnx]'"


def test_an_installed_package_that_fails_to_import_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_extension.py").write_text("raise RuntimeError('no such op')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(installation.PACKAGES, "core", {"numpy": "broken_extension"})
    finding = package_in_core()
    assert finding.version
    assert finding.problem == "cannot be imported: no such op"


def test_what_works_needs_no_remedy() -> None:
    core = [f for f in installation.examine(load=True) if f.capability == "core"]
    assert all(f.version and f.remedy is None for f in core)


@pytest.mark.parametrize(
    ("lowest", "problem"),
    [("99.0", "older than 99.0, the lowest that is supported"), ("1.9", None)],
)
def test_a_package_that_is_too_old_is_told(monkeypatch, lowest, problem) -> None:
    monkeypatch.setitem(installation.PACKAGES, "core", {"numpy": "numpy"})
    monkeypatch.setattr(installation, "supported", lambda: {"numpy": lowest})
    assert package_in_core().problem == problem


@pytest.mark.parametrize(("found", "fits"), [("2.10.1", False), ("2.11.0+cpu", True)])
def test_torch_before_2_11_is_told(monkeypatch, found, fits) -> None:
    monkeypatch.setitem(installation.PACKAGES, "core", {"torch": "torch"})
    monkeypatch.setattr(installation, "version", lambda _: found)
    assert (package_in_core().problem is None) == fits


@pytest.mark.parametrize(
    ("version", "fits"),
    [("3.10.9", False), ("3.11.0", True), ("3.13.7", True), ("3.14.0rc1", False)],
)
def test_a_python_out_of_range_is_told(monkeypatch, version, fits) -> None:
    monkeypatch.setattr(installation.platform, "python_version", lambda: version)
    finding = installation.examine(load=True)[0]
    assert (finding.name, finding.problem is None) == ("python", fits)
    assert finding.problem is None or ">=3.11" in finding.problem


def test_the_lowest_versions_are_those_that_the_distribution_names() -> None:
    assert installation.supported()["torch"] == "2.11"
    assert installation.numbers("2.15.0+cpu") == (2, 15, 0)
