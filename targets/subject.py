"""Subject: the network that a command works on, from a run directory or a NIR file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from export.from_nir import load, read
from export.nir_metadata import Metadata
from export.onnx_proof import fingerprint
from stars.data import images
from stars.data.bundled_run import unpack_bundled
from stars.errors import ConfigError, DataError, FormatError
from stars.graph.spiking_graph import SpikingGraph
from stars.run_directory import Run, check_exists
from targets.base import Target
from targets.c.cross import ArmTarget, WasmTarget, cortex_m55
from targets.c.target import CTarget
from targets.inputs import Inputs, inputs_for, read_array
from targets.origin import Origin, RanFile, inputs_digest
from targets.simulators.onnx_runtime import OnnxTarget
from targets.simulators.student import StudentTarget


def check_there(path: Path) -> None:
    """Check that a run or a file is there; the bundled run is unpacked by its name.

    Raises:
        DataError: the bundled run cannot be unpacked.
        FormatError: there is nothing.
    """
    unpack_bundled(path)
    check_exists(path)


def states_dt(path: Path) -> bool:
    """Whether a network states its own dt: a run directory, or a NIR file of ours.

    Raises:
        FormatError: the file is missing, damaged or not NIR.
        UnsupportedNodeError: the file has NIR primitives that no node implements.
    """
    check_there(path)
    return path.is_dir() or Metadata(load(path).metadata).ours


@dataclass(frozen=True, eq=False)
class Subject:
    """An exported network, read from its file.

    Args:
        graph: the network in the file.
        file: the NIR file.
        run: the run directory that holds the file; None for a file alone.
        sha256: of the file, taken before it was read; None for a graph in memory.
    """

    graph: SpikingGraph
    file: Path
    run: Run | None
    sha256: str | None = None

    @property
    def folder(self) -> Path:
        """The run directory, or the folder of the file."""
        return self.file.parent if self.run is None else self.run.path

    @classmethod
    def open(
        cls, path: Path, *, dt: float | str | None = None, steps: int | None = None
    ) -> Subject:
        """The network in a run directory or in a NIR file.

        Args:
            path: the run directory or the file. `fashion-mnist-student`, if nothing of
                that name is there, is unpacked: the run that ships with STARS.
            dt: seconds per step, if a file of another tool does not state it.
            steps: T; required if the file does not state it, else it overrides the
                file.

        Raises:
            ConfigError: `path` is an ONNX file, which does not hold the whole network.
            DataError: the directory is not a run directory.
            FormatError: the file is missing, damaged, or of another format.
            UnsupportedNodeError: the file has NIR primitives that no node implements.
        """
        if path.suffix == ".onnx":
            raise ConfigError(
                f"'{path}' is an ONNX file, which does not hold the whole network; give"
                f" its NIR file and '--onnx {path}'"
            )
        check_there(path)
        if not path.is_dir():
            return cls.of_file(path, None, dt=dt, steps=steps)
        run = Run.open(path)
        if not run.graph_path.is_file():
            reason, command = run.no_network()
            raise FormatError(f"run '{path}': {reason}; run '{command}'")
        return cls.of_file(run.graph_path, run, dt=dt, steps=steps)

    @classmethod
    def of_file(
        cls, file: Path, run: Run | None, *, dt: float | str | None, steps: int | None
    ) -> Subject:
        """The network in a NIR file, with the SHA-256 of the file."""
        digest = fingerprint(file) if file.is_file() else None
        return cls(read(file, dt=dt, steps=steps), file, run, digest)

    def inputs(self, given: Path | None) -> Inputs:
        """The inputs in the file `given`; if None, the run's own test images.

        Raises:
            ConfigError: there is no file and there are no test images.
            DataError: the network does not accept the inputs.
        """
        if given is not None:
            return inputs_for(self.graph, read_array(given), str(given))
        spec = "none" if self.run is None else self.run.read_config().get("test_data")
        if spec in (None, "none"):
            raise ConfigError(
                f"'{self.file}' comes without test images; pass --inputs FILE (.npy or"
                " .npz: 8-bit images [N, C, H, W] or float inputs [T, N, ...])"
            )
        return inputs_for(self.graph, images.load(str(spec)).images, f"data '{spec}'")

    def origin(
        self,
        inputs: Inputs,
        data: str,
        targets: Iterable[Target] = (),
        substitutes: Mapping[str, Path] | None = None,
    ) -> Origin:
        """The origin of a result; to be taken before the targets run.

        Args:
            inputs: those that will run.
            data: their name.
            targets: those that will run.
            substitutes: by target, another file to run there.
        """
        files: dict[Path, dict[str, None]] = {self.file: {}}
        for target in targets:
            own = (substitutes or {}).get(target.name, getattr(target, "path", None))
            path = Path(own or self.file)
            for file in sorted(path.glob("*.[ch]")) if path.is_dir() else [path]:
                files.setdefault(file, {})[target.name] = None
        digests = {
            path: self.sha256 if path == self.file else fingerprint(path)
            for path in files
            if path == self.file or path.is_file()
        }
        folder = self.folder.resolve()
        return Origin(
            stars_version=version("stars-snn"),
            steps=self.graph.steps,
            data=data,
            inputs=len(inputs),
            inputs_sha256=inputs_digest(inputs),
            files=[
                RanFile(
                    file=within(folder, path), sha256=digest, targets=tuple(files[path])
                )
                for path, digest in digests.items()
                if digest is not None
            ],
        )

    def check_unchanged(self, found: Origin) -> None:
        """Check that no file was replaced while it ran.

        Raises:
            DataError: a file is gone or another one.
        """
        for one in found.files:
            path = self.folder / one.file  # an absolute name stays what it is
            if not path.is_file() or fingerprint(path) != one.sha256:
                raise DataError(
                    f"'{path}' changed while it ran, so the result is of no file; run"
                    " the command again"
                )

    def targets(self, onnx: Path | None = None) -> list[Target]:
        """Targets that run this subject's own files: its student, ONNX file and C.

        Args:
            onnx: an ONNX file of the same network; None uses the run's own, if any.
        """
        found: list[Target] = []
        if self.run is not None and self.run.student_path.is_file():
            found.append(StudentTarget(self.run.student_path))
        if self.run is not None and (sources := self.run.c_path).is_dir():
            found += c_targets(sources)
        if onnx is None and self.run is not None and self.run.onnx_path.is_file():
            onnx = self.run.onnx_path
        return found if onnx is None else [*found, OnnxTarget(onnx)]

    def substitute(self, name: str, file: Path) -> SpikingGraph | Target:
        """The substitute in `file` for target `name`: a target, or a graph for it.

        Raises:
            FormatError: the file is missing, damaged, or of another format.
        """
        if name == StudentTarget.name:
            return StudentTarget(file)
        if name == OnnxTarget.name and file.suffix == ".onnx":
            return OnnxTarget(file)
        if file.is_dir():
            for target in c_targets(file):
                if target.name == name:
                    return target
        return read(file, dt=self.graph.dt, steps=self.graph.steps)


def within(folder: Path, path: Path) -> str:
    """The path relative to a folder, or absolute if the folder does not hold it."""
    whole = path.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)


def c_targets(sources: Path) -> list[CTarget]:
    """The targets that compile a folder of C sources."""
    found = [CTarget(), WasmTarget(), ArmTarget(), cortex_m55()]
    return [replace(target, path=sources) for target in found]
