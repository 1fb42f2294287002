"""What a command is about: a run directory, or a NIR file, and the inputs for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.from_nir import read
from stars.data import images
from stars.errors import ConfigError, FormatError
from stars.graph.spiking_graph import SpikingGraph
from stars.run_directory import Run
from targets.base import Target
from targets.inputs import Inputs, inputs_for, read_array
from targets.simulators.onnx_runtime import OnnxTarget
from targets.simulators.student import StudentTarget


@dataclass(frozen=True, eq=False)
class Subject:
    """A network as it ships, read from its file.

    Args:
        graph: what the file says.
        file: the NIR file.
        run: the run directory that it is in; None for a file alone.
    """

    graph: SpikingGraph
    file: Path
    run: Run | None

    @classmethod
    def open(
        cls, path: Path, *, dt: float | None = None, steps: int | None = None
    ) -> Subject:
        """The network of a run directory, or in a NIR file.

        Args:
            path: either.
            dt: seconds a step, for a file of another tool that does not say.
            steps: T; needed for such a file, else it takes precedence.

        Raises:
            ConfigError: an ONNX file: it says less than a network is.
            DataError: a directory that is no run.
            FormatError: no such file, foreign or damaged.
            UnsupportedNodeError: primitives that have no node here.
        """
        if path.suffix == ".onnx":
            raise ConfigError(
                f"'{path}' is an ONNX file, which has no network to compare with; give"
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
        """The inputs in a file, or the test images that the run was measured with.

        Raises:
            ConfigError: neither is there.
            DataError: they are not what the network takes.
        """
        if given is not None:
            return inputs_for(self.graph, read_array(given), str(given))
        spec = "none" if self.run is None else self.run.read_config().get("test_data")
        if spec in (None, "none"):
            raise ConfigError(
                f"'{self.file}' comes without test images; pass --inputs FILE (.npy or"
                " .npz: 8-bit images [N, C, H, W], or a float input [T, N, ...])"
            )
        return inputs_for(self.graph, images.load(str(spec)).images, f"data '{spec}'")

    def targets(self, onnx: Path | None = None) -> list[Target]:
        """Targets that run what this subject ships: its student, its ONNX file.

        Args:
            onnx: an ONNX file of the same network; None takes the run's own, if it has
                one.
        """
        found: list[Target] = []
        if self.run is not None and self.run.student_path.is_file():
            found.append(StudentTarget(self.run.student_path))
        if onnx is None and self.run is not None and self.run.onnx_path.is_file():
            onnx = self.run.onnx_path
        return found if onnx is None else [*found, OnnxTarget(onnx)]

    def substitute(self, name: str, file: Path) -> SpikingGraph | Target:
        """What `file` puts under target `name`: a file of its own kind, else a graph.

        Raises:
            FormatError: no such file, foreign or damaged.
        """
        if name == StudentTarget.name:
            return StudentTarget(file)
        if name == OnnxTarget.name and file.suffix == ".onnx":
            return OnnxTarget(file)
        return read(file, dt=self.graph.dt, steps=self.graph.steps)
