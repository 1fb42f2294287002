"""Subject: the network that a command works on, from a run directory or a NIR file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.from_nir import load, read
from export.nir_metadata import Metadata
from stars.data import images
from stars.errors import ConfigError, FormatError
from stars.graph.spiking_graph import SpikingGraph
from stars.run_directory import Run
from targets.base import Target
from targets.inputs import Inputs, inputs_for, read_array
from targets.simulators.onnx_runtime import OnnxTarget
from targets.simulators.student import StudentTarget


def states_dt(path: Path) -> bool:
    """Whether a network states its own dt: a run directory, or a NIR file of ours.

    Raises:
        FormatError: the file is missing, damaged or not NIR.
        UnsupportedNodeError: the file has NIR primitives that no node implements.
    """
    return path.is_dir() or Metadata(load(path).metadata).ours


@dataclass(frozen=True, eq=False)
class Subject:
    """An exported network, read from its file.

    Args:
        graph: the network in the file.
        file: the NIR file.
        run: the run directory that holds the file; None for a file alone.
    """

    graph: SpikingGraph
    file: Path
    run: Run | None

    @classmethod
    def open(
        cls, path: Path, *, dt: float | str | None = None, steps: int | None = None
    ) -> Subject:
        """The network in a run directory or in a NIR file.

        Args:
            path: the run directory or the file.
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
        if not path.is_dir():
            return cls(read(path, dt=dt, steps=steps), path, None)
        run = Run.open(path)
        if not run.graph_path.is_file():
            raise FormatError(
                f"run '{path}' has no {run.graph_path.relative_to(path)}: its"
                " distillation has not ended; resume it with 'stars distill --resume'"
            )
        return cls(read(run.graph_path, dt=dt, steps=steps), run.graph_path, run)

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

    def targets(self, onnx: Path | None = None) -> list[Target]:
        """Targets that run this subject's own files: its student and its ONNX file.

        Args:
            onnx: an ONNX file of the same network; None uses the run's own, if any.
        """
        found: list[Target] = []
        if self.run is not None and self.run.student_path.is_file():
            found.append(StudentTarget(self.run.student_path))
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
        return read(file, dt=self.graph.dt, steps=self.graph.steps)
