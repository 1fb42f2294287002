"""Finds a working Python 3.10 for Lava's environment.

Every candidate is run first, because version managers put a `python3.10` on PATH that
only prints an error. The order is:

1. `STARS_LAVA_PYTHON`; if it is set, nothing else is tried
2. every `python3.10` on PATH, not only the first
3. pyenv's versions
4. a Python that uv manages, or else one that uv downloads
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stars.errors import MissingDependencyError

PYTHON_VERSION = "3.10"

_PROBE_SECONDS = 20
_DOWNLOAD_SECONDS = 300
_PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def find_interpreter() -> Path:
    """The first Python 3.10 that runs and can make environments.

    Raises:
        MissingDependencyError: there is none; the message lists every candidate and
            why it was refused.
    """
    refused: list[str] = []
    for candidate in _candidates(refused):
        problem = _why_unusable(candidate)
        if not problem:
            return candidate
        refused.append(f"{candidate}: {problem}")
    tried = "\n  ".join(refused)
    raise MissingDependencyError(
        f"no Python {PYTHON_VERSION} for Lava; install one, or set STARS_LAVA_PYTHON "
        f"to its path. Tried:\n  {tried}"
    )


def run(command: list[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; exit code 127 if the program is missing or hangs."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        problem = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        problem = f"no answer in {timeout:.0f} s"
    return subprocess.CompletedProcess(command, 127, stdout="", stderr=problem)


def _candidates(refused: list[str]) -> Iterator[Path]:
    chosen = os.environ.get("STARS_LAVA_PYTHON")
    if chosen:
        yield Path(chosen).expanduser()
        return
    for folder in os.get_exec_path():
        found = shutil.which(f"python{PYTHON_VERSION}", path=folder)
        if found:
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from sorted(pyenv.glob(f"versions/{PYTHON_VERSION}*/bin/python"))
    yield from _uv_candidates(refused)


def _uv_candidates(refused: list[str]) -> Iterator[Path]:
    """The interpreter that uv manages; uv downloads one if it has none.

    `--managed-python`, because uv stops at the first broken `python3.10` on PATH, and
    `_candidates` has tried those.
    """
    uv = _find_uv()
    if uv is None:
        refused.append("uv: not installed ('pip install uv'); it can download one")
        return
    find = [uv, "python", "find", "--managed-python", PYTHON_VERSION]
    found = run(find, timeout=_PROBE_SECONDS)
    if found.returncode != 0:
        install = [uv, "python", "install", "--no-bin", PYTHON_VERSION]
        installed = run(install, timeout=_DOWNLOAD_SECONDS)
        if installed.returncode != 0:
            refused.append(f"uv python install: {_first_line(installed)}")
            return
        found = run(find, timeout=_PROBE_SECONDS)
    if found.returncode == 0:
        yield Path(found.stdout.strip())


def _find_uv() -> str | None:
    """The uv beside our own Python, else the one on PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which("uv", path=beside) or shutil.which("uv")


def _why_unusable(python: Path) -> str:
    """Empty for a Python 3.10 that runs and can make environments."""
    result = run([str(python), "-I", "-c", _PROBE], timeout=_PROBE_SECONDS)
    if result.returncode != 0:
        return f"does not run ({_first_line(result)})"
    version = result.stdout.strip()
    if version != PYTHON_VERSION:
        return f"is Python {version}, not {PYTHON_VERSION}"
    return ""


def _first_line(result: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return lines[0] if lines else f"exit code {result.returncode}"
