"""Lava's own Python 3.10 environment: builds it, finds it and checks its state.

Lava's last releases need Python 3.10 and numpy < 2, so they get an environment of their
own and are never imported here. `requirements.txt` beside this file lists its packages.

    STARS_LAVA_PYTHON   the Python 3.10 to build from
    STARS_LAVA_ENV      the environment's folder; default: in the user's cache folder

An environment is ready when its marker file says "ready". The marker says "building"
before anything is installed. An atomic rename makes it "ready" once Lava was imported
there, so an interrupted installation never counts as ready.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from stars.errors import ConfigError, MissingDependencyError, TargetError
from stars.files.writing import sha256, write_json
from targets.lava.interpreter import PYTHON_VERSION, find_interpreter, run

LAVA_VERSION = "0.10.0"
MARKER = "stars-lava.json"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

_STEP_SECONDS = 1800
_LOG_LINES = 15

# Runs in the new environment; its output becomes part of the marker.
_CHECK = """
import json, platform
from importlib.metadata import version
import h5py, numpy, scipy
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.lif.process import LIF
names = ("lava-nc", "lava-dl", "numpy", "scipy", "h5py")
packages = {name: version(name) for name in names}
print(json.dumps({"python_version": platform.python_version(), "packages": packages}))
"""


@dataclass(frozen=True)
class Status:
    """The state of the environment's folder, with the reason if it is not ready.

    `python_version` and `packages` were recorded when the environment was made; they
    are empty unless it is ready.
    """

    root: Path
    ready: bool
    reason: str
    python_version: str = ""
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The environment's Python, whether it exists or not."""
        return self.root / "bin" / "python"


def environment_dir() -> Path:
    """The environment's folder, whether it exists or not."""
    override = os.environ.get("STARS_LAVA_ENV")
    if override:
        return Path(override).expanduser().absolute()
    return user_cache_path("stars") / f"lava-{LAVA_VERSION}"


def lava_python() -> Path:
    """The Python of the ready environment.

    Raises:
        MissingDependencyError: it is missing, incomplete or out of date; the message
            says which, and the command that makes it.
    """
    found = status()
    if not found.ready:
        raise MissingDependencyError(
            f"Lava's Python {PYTHON_VERSION} environment in {found.root} "
            f"{found.reason}; run 'stars lava setup'"
        )
    return found.python


def status() -> Status:
    """The environment's state, read from its marker; runs nothing."""
    root = environment_dir()
    if not root.exists():
        return Status(root, ready=False, reason="is missing")
    marker = _read_marker(root)
    if marker is None:
        return Status(root, ready=False, reason="was not made by stars")
    if marker["state"] != "ready" or not (root / "bin" / "python").exists():
        return Status(root, ready=False, reason="is incomplete")
    if marker["requirements"] != sha256(REQUIREMENTS):
        return Status(root, ready=False, reason="was made for other versions")
    return Status(
        root,
        ready=True,
        reason="is ready",
        python_version=str(marker["python_version"]),
        packages=dict(marker["packages"]),
    )


def setup(report: Callable[[str], None], *, force: bool = False) -> Status:
    """Make the environment unless it is ready; returns its state.

    Args:
        report: called with one line of text before each stage.
        force: make it again even if it is ready.

    Raises:
        ConfigError: the folder holds something that stars did not make.
        MissingDependencyError: no Python 3.10 was found; lists what was tried.
        TargetError: installing failed, or Lava cannot be imported afterwards.
    """
    root = environment_dir()
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root.with_name(f"{root.name}.lock")):
        found = status()
        if found.ready and not force:
            return found
        _check_ours(root)
        interpreter = find_interpreter()
        report(f"making Lava's environment in {root} with {interpreter}")
        _build(root, interpreter, report)
    return status()


def _build(root: Path, interpreter: Path, report: Callable[[str], None]) -> None:
    """Make it from nothing; the marker says "ready" only at the end."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    marker = {"state": "building", "requirements": sha256(REQUIREMENTS)}
    write_json(root / MARKER, marker)
    _must([str(interpreter), "-I", "-m", "venv", str(root)], "making the environment")
    python = str(root / "bin" / "python")
    report(f"installing lava-nc {LAVA_VERSION} and what it needs")
    pip = [python, "-I", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [*pip, "install", "--no-deps", "--requirement", str(REQUIREMENTS)]
    _must(install, "installing Lava")
    facts = json.loads(_must([python, "-I", "-c", _CHECK], "importing Lava"))
    write_json(root / MARKER, {**marker, **facts, "state": "ready"})


def _must(command: list[str], what: str) -> str:
    """The command's output; TargetError with the end of its log if it fails."""
    result = run(command, timeout=_STEP_SECONDS)
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).strip().splitlines()
        raise TargetError(
            f"{what} failed with exit code {result.returncode}; fix what the log "
            "says and run 'stars lava setup' again. The end of the log:",
            log="\n".join(lines[-_LOG_LINES:]),
        )
    return result.stdout


def _check_ours(root: Path) -> None:
    """Refuse to replace a folder that stars did not make."""
    if root.exists() and _read_marker(root) is None and any(root.iterdir()):
        raise ConfigError(
            f"{root} is not empty and was not made by stars; empty it yourself, or "
            "set STARS_LAVA_ENV to another folder"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time make the environment; the others wait."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_marker(root: Path) -> dict[str, Any] | None:
    """The marker, or None if there is none."""
    path = root / MARKER
    if not path.exists():
        return None
    try:
        marker: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # edited by hand: made by stars, but not to be trusted
        return {"state": "building"}
    return marker
