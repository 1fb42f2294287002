"""What users install is what is tested: the wheel, its files, its console script."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHES = {"__pycache__", ".mypy_cache", ".ruff_cache"}
PACKAGES = ("stars", "export", "targets", "cli")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_has_our_four_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_has_every_file_of_the_packages(wheel: Path) -> None:
    """Assets, worker and requirements included: what is not there fails at the user."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not CACHES & set(path.parts)
    }
    assert ours <= packed


def test_the_wheel_is_typed_and_licensed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    code = "import cli.main; print(cli.__file__); cli.main.main(['--help'])"
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(wheel)!r}); {code}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith(str(wheel))
    assert "doctor" in result.stdout


def test_the_packages_under_test_are_those_of_this_checkout() -> None:
    for package in PACKAGES:
        (where,) = __import__(package).__path__
        assert Path(where) == ROOT / package


def test_the_console_script_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="stars")
    assert script.value == "stars.__main__:main"


@pytest.mark.parametrize("name", ["cli", "export", "targets"])
@pytest.mark.parametrize("kind", ["folder", "module"])
def test_a_package_of_our_name_that_is_found_first_is_named(name, kind, tmp_path):
    """In the folder where `python -m stars` starts, or on PYTHONPATH."""
    if kind == "folder":
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        intruder = tmp_path / name
    else:
        intruder = tmp_path / f"{name}.py"
        intruder.touch()
    result = subprocess.run(
        [sys.executable, "-m", "stars", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"'{name}'" in line
    assert f"'{intruder}'" in line


def test_python_m_stars_is_the_program(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "stars", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("stars ")
