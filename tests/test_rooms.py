"""The packages: public names exist, and the light ones stay free of torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import stars

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    ".".join(path.relative_to(ROOT).parent.parts)
    for package in ("stars", "export", "targets")
    for path in (ROOT / package).rglob("__init__.py")
    if "worker" not in path.parts
)
LIGHT = ("stars.graph", "stars.grid", "stars.files", "stars.config", "stars.data")


def exported(package: str) -> list[str]:
    """The names that a package's `__init__.py` re-exports, as `x as x` or `__all__`."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    names = [
        alias.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    return [*names, *getattr(importlib.import_module(package), "__all__", [])]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    for name in exported(package):
        assert getattr(module, name, None) is not None, name


def test_the_names_that_users_rely_on_are_public() -> None:
    assert {"SpikingGraph", "Trace"} <= set(exported("stars.graph"))
    assert {"certify", "lower", "quantize"} <= set(exported("stars.grid"))
    assert {"load", "save", "Teacher"} <= set(exported("stars.teacher"))
    assert set(stars.PUBLIC) == set(exported("stars"))


def test_no_re_export_hides_a_module_of_its_package() -> None:
    for package in PACKAGES:
        folder = ROOT / package.replace(".", "/")
        modules = {path.stem for path in folder.glob("*.py")}
        assert not modules & set(exported(package)), package


def test_light_packages_load_no_torch() -> None:
    modules = [*LIGHT, "stars.testing", "stars.graph.reference", "targets.table"]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
