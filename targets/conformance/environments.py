"""Readers in environments of their own, built by uv, because their packages clash.

Environments are in the user's cache folder, or in STARS_CONFORMANCE_ENV. The name of a
folder holds a hash of its requirements, so another version is another environment. A
marker file is written last, so an interrupted installation never counts as ready.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from platformdirs import user_cache_path

from stars.errors import ConfigError, MissingDependencyError

PYTHON = "3.11"
NUMPY, TORCH, NIR = "numpy==2.4.6", "torch==2.15.0", "nir==1.0.8"
# What each reader needs, at the versions of the table in the documentation.
REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    "norse": ("norse==1.1.0", "nirtorch==2.6", NIR, TORCH, NUMPY),
    "snntorch": ("snntorch==1.0.0", "nirtorch==2.6", NIR, TORCH, NUMPY),
    "spikingjelly": ("spikingjelly==2.0.0", "nirtorch==2.6", NIR, TORCH, NUMPY),
    "sinabs": ("sinabs==3.1.3", "nirtorch==2.0.2", "nir==1.0.4", TORCH, NUMPY),
    "rockpool": ("rockpool[torch]==3.1.0", "nirtorch==2.6", NIR, TORCH, NUMPY),
    "nirtorch": ("nirtorch==2.6", NIR, TORCH, NUMPY),
    "snn-mlir": ("snn-mlir==1.0.0", NIR, NUMPY),
    "ours": (),  # this environment
}
SECONDS = 1800
MARKER = "stars-conformance-ready"


def python_of(reader: str, report: Callable[[str], None]) -> Path:
    """The Python that runs a reader; its environment is built if it is missing.

    Args:
        reader: a name of `REQUIREMENTS`, or module:function, which runs in this one.
        report: called with a line before a long step.

    Raises:
        ConfigError: the name is unknown.
        MissingDependencyError: uv is missing, or cannot install the packages.
    """
    if ":" in reader:
        return Path(sys.executable)
    if reader not in REQUIREMENTS:
        raise ConfigError(
            f"reader '{reader}' is unknown; there are {', '.join(REQUIREMENTS)}, or"
            " module:function for your own"
        )
    packages = REQUIREMENTS[reader]
    if not packages:
        return Path(sys.executable)
    digest = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    root = environments() / f"{reader}-{digest}"
    if not (root / MARKER).is_file():
        report(f"{reader}: installing {', '.join(packages)}")
        shutil.rmtree(root, ignore_errors=True)
        install(root, packages)
        (root / MARKER).touch()
    return root / "bin" / "python"


def environments() -> Path:
    """The folder of all environments."""
    given = os.environ.get("STARS_CONFORMANCE_ENV")
    if given:
        return Path(given).expanduser().absolute()
    return user_cache_path("stars") / "conformance"


def install(root: Path, packages: tuple[str, ...]) -> None:
    """Make an environment and install packages into it.

    Raises:
        MissingDependencyError: uv is missing or fails; has the end of its output.
    """
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise MissingDependencyError(
            "readers need uv for environments of their own; run pip install"
            " 'stars-snn[lava]', which has it"
        )
    python = str(root / "bin" / "python")
    for words in (
        ["venv", "--quiet", "--python", PYTHON, str(root)],
        ["pip", "install", "--quiet", "--python", python, *packages],
    ):
        done = subprocess.run(
            [uv, *words], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            tail = "\n".join(done.stderr.splitlines()[-8:])
            raise MissingDependencyError(f"uv {words[0]} failed for {root}:\n{tail}")
