"""Run: a run directory, and the names of the files in it.

config.toml manifest.json metrics.jsonl checkpoints/ synthetic.png
student.safetensors artifacts/ parity.json energy.json
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stars.config.models import Config, read_toml, to_toml
from stars.errors import ConfigError, DataError, FormatError, StarsError, guess
from stars.files.writing import (
    atomic,
    read_json,
    remove_halves,
    sha256,
    write_json,
    write_text,
)

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int, dict[str, float]], None]  # stage, done, all, values
RENAMED = {"optimiser": "optimizer", "synthesiser": "synthesizer"}  # in checkpoints
SCHEMA = 1  # of manifest.json
PACKAGES = ("stars-snn", "torch", "norse", "nir", "numpy", "scipy", "safetensors")


@dataclass(frozen=True)
class Run:
    """One run directory: its paths, its checkpoints, its log and its manifest."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, *, resume: bool = False) -> Run:
        """Create the directory, or continue in one with the same configuration.

        Raises:
            ConfigError: the directory holds a run and `resume` is off; or `resume` is
                on and it holds none, or one with another configuration.
        """
        run, text = cls(path), to_toml(config)
        if run.config_path.is_file():
            if not resume:
                raise ConfigError(
                    f"'{path}' already holds a run; give another --out, or --resume"
                )
            if run.config_path.read_text(encoding="utf-8") != text:
                raise ConfigError(
                    f"'{path}' was made with another configuration; see its config.toml"
                )
            run.check_schema()
            if not run.manifest_path.is_file():  # killed between the two writes
                write_json(run.manifest_path, manifest(config))
            return run
        if resume:
            raise ConfigError(f"'{path}' holds no run to resume")
        if path.exists() and (not path.is_dir() or holds_something(path)):
            raise ConfigError(f"'{path}' exists and is not a run; give another --out")
        with run.begun():
            write_text(run.config_path, text)
            write_json(run.manifest_path, manifest(config))
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run directory.

        Raises:
            DataError: the path is no run directory.
        """
        run = cls(path)
        check_exists(path)
        if not run.config_path.is_file():
            raise DataError(f"'{path}' is not a run directory: it has no config.toml")
        run.check_schema()
        return run

    def check_schema(self) -> None:
        """Check that this version can read the manifest.

        Raises:
            FormatError: a newer version wrote it.
        """
        if not self.manifest_path.is_file():
            return
        found = read_json(self.manifest_path).get("schema", SCHEMA)
        if found not in range(1, SCHEMA + 1):
            raise FormatError(
                f"'{self.manifest_path}' has schema {found!r}, this version of stars"
                f" reads 1 to {SCHEMA}; upgrade stars if a newer version wrote it"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the run against other processes, and removes half-written files.

        Raises:
            ConfigError: another process holds the lock.
            DataError: the folder cannot be written to.
        """
        try:
            file = self.config_path.open("rb+")
        except OSError as error:
            raise DataError(f"cannot write to '{self.path}': {error}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another process works on '{self.path}'; wait for it, or stop it"
                ) from error
            remove_halves(self.path)
            yield

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Removes the run if an error comes before the first checkpoint.

        Nothing is lost: such a run holds only what a new one writes again. Files of
        others stay, and their folder with them.
        """
        try:
            yield
        except StarsError:
            begun = any(path.is_file() for path in self.checkpoint_paths)
            if self.path.is_dir() and not begun:
                own = self.manifest_path, self.metrics_path, self.synthetic_path
                for path in (*own, self.config_path):
                    path.unlink(missing_ok=True)
                for folder in (self.checkpoint_path.parent, self.path):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()
            raise

    @property
    def config_path(self) -> Path:
        """The configuration of the run."""
        return self.path / "config.toml"

    @property
    def manifest_path(self) -> Path:
        """Versions, seeds, command line, checksums."""
        return self.path / "manifest.json"

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        """The newest checkpoint."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def checkpoint_paths(self) -> tuple[Path, Path]:
        """The newest checkpoint, and the one before it."""
        return self.checkpoint_path, self.checkpoint_path.with_name("previous.pt")

    @property
    def synthetic_path(self) -> Path:
        """A picture of the newest synthetic images."""
        return self.path / "synthetic.png"

    @property
    def student_path(self) -> Path:
        """The weights of the student on the grid."""
        return self.path / "student.safetensors"

    @property
    def float_student_path(self) -> Path:
        """The student's weights before the grid."""
        return self.path / "student_float.safetensors"

    @property
    def graph_path(self) -> Path:
        """The student on the grid as NIR: the file to deploy."""
        return self.path / "artifacts" / "student.nir"

    @property
    def onnx_path(self) -> Path:
        """The same as ONNX; exists once it was exported."""
        return self.path / "artifacts" / "student.onnx"

    @property
    def bundle_path(self) -> Path:
        """The same as a Lava bundle, a folder; exists once it was exported."""
        return self.path / "artifacts" / "lava"

    @property
    def c_path(self) -> Path:
        """The folder of its C sources; exists once it was exported."""
        return self.path / "artifacts" / "c"

    def read_config(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return read_toml(self.config_path)

    def log(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl.

        Raises:
            DataError: it cannot be written.
        """
        try:
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")
        except OSError as error:
            raise DataError(f"cannot write '{self.metrics_path}': {error}") from error

    def forget_log(self, after: int) -> None:
        """Drop the lines of metrics.jsonl behind the first `after` ones."""
        if self.metrics_path.is_file():
            text = self.metrics_path.read_text(encoding="utf-8")
            kept = text.splitlines(keepends=True)[:after]
            write_text(self.metrics_path, "".join(kept))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the newest one becomes the previous one.

        At every moment at least one of the two files is whole.

        Raises:
            DataError: it cannot be written; then nothing has changed.
        """
        import torch  # noqa: PLC0415 - a run is opened by commands that need no torch

        content = io.BytesIO()  # torch raises no OSError when the disk is full
        torch.save(state, content)
        newest, previous = self.checkpoint_paths
        with atomic(newest) as temporary:
            temporary.write_bytes(content.getvalue())  # neither a copy nor an open view
            if newest.is_file():
                newest.replace(previous)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The newest undamaged checkpoint, or None if the run has none yet.

        Raises:
            FormatError: every checkpoint is damaged.
        """
        damaged: list[str] = []
        for path in self.checkpoint_paths:
            if not path.is_file():
                continue
            try:
                state = checkpoint(path)
            except FormatError as error:
                damaged.append(str(error))
                continue
            for reason in damaged:
                log.warning("%s; continuing from the earlier '%s'", reason, path.name)
            return state
        if damaged:
            raise FormatError("; ".join(damaged))
        return None

    def add_to_manifest(self, values: dict[str, Any]) -> None:
        """Merge `values` into manifest.json."""
        write_json(self.manifest_path, {**read_json(self.manifest_path), **values})

    def record_artifact(self, path: Path) -> None:
        """Write the sha256 of a file of this run into the manifest."""
        own = {str(path.relative_to(self.path)): sha256(path)}
        self.add_to_manifest({"sha256": {**self.recorded(), **own}})

    def is_recorded(self, path: Path) -> bool:
        """Whether the manifest has the sha256 of a file as it is now."""
        return self.recorded().get(str(path.relative_to(self.path))) == sha256(path)

    def no_network(self) -> tuple[str, str]:
        """(why there is no student.nir, the command that makes it)."""
        name = str(self.graph_path.relative_to(self.path))
        again = f"stars distill --out {shlex.quote(str(self.path))} --resume"
        if name not in self.recorded():
            return f"it has no {name}, because its distillation has not ended", again
        command = read_json(self.manifest_path).get("command")
        if isinstance(command, list) and "distill" in command:
            again = shlex.join([*map(str, command), "--resume"])
        return (
            f"its {name} was deleted after the distillation; restore a copy, or write"
            " it again from the last checkpoint",
            again,
        )

    def recorded(self) -> dict[str, Any]:
        """The sha256 of the files in the manifest, by name."""
        if not self.manifest_path.is_file():
            return {}
        known = read_json(self.manifest_path).get("sha256", {})
        if not isinstance(known, dict):
            raise FormatError(f"'{self.manifest_path}': 'sha256' holds no object")
        return known


def check_exists(path: Path) -> None:
    """Check that a run directory or a file is there.

    Raises:
        FormatError: it is not; names the nearest one that is.
    """
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = guess(str(path), [str(one) for one in beside])
        raise FormatError(
            f"'{path}': no such file or folder{near}; give a run directory or a file"
        )


def holds_something(folder: Path) -> bool:
    """Whether a folder has files, half-written config.toml files aside."""
    return any(not p.name.startswith(".config.toml.") for p in folder.iterdir())


def checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in a file; only tensors and plain values are unpickled.

    Raises:
        FormatError: it is damaged.
    """
    import torch  # noqa: PLC0415 - a run is opened by commands that need no torch

    try:
        # torch.load does not notice changed bytes.
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
        if changed is not None:
            raise FormatError(f"the checksum of '{changed}' in it is wrong")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen types
        raise FormatError(f"checkpoint '{path}' is damaged: {error}") from error
    rename_keys(state)
    rename_keys(state.get("distillation", {}))
    return state


def rename_keys(state: dict[str, Any]) -> None:
    """Give the keys of older checkpoints their present names, in place."""
    for old in RENAMED.keys() & state.keys():
        state[RENAMED[old]] = state.pop(old)
        if old == "synthesiser":
            rename_keys(state["synthesizer"])


def manifest(config: Config) -> dict[str, Any]:
    """The first content of manifest.json: versions, machine, seed, command line."""
    return {
        "schema": SCHEMA,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": getattr(config, "seed", None),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "versions": {name: installed_version(name) for name in PACKAGES},
        "git_commit": git_commit(),
    }


def installed_version(package: str) -> str | None:
    """The version of an installed package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The git commit of this code, None outside of a checkout."""
    folder = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return result.stdout.strip() or None
