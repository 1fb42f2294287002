"""What a command is about: a run directory, or a NIR file, and the inputs for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from export.from_nir import read
from stars import data
from stars.errors import ConfigError, FormatError
from stars.graph import SpikingGraph
from stars.run import Run
from targets.base import Target
from targets.inputs import Inputs, inputs_for, read_array
from targets.student import StudentTarget


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
            DataError: a directory that is no run.
            FormatError: no such file, foreign or damaged.
            UnsupportedNodeError: primitives that have no node here.
        """
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
        return inputs_for(self.graph, data.load(str(spec)).images, f"data '{spec}'")

    def targets(self) -> list[Target]:
        """Targets that only this subject has: the trained student of a run."""
        if self.run is None or not self.run.student_path.is_file():
            return []
        return [StudentTarget(self.run.student_path)]

    def substitute(self, name: str, file: Path) -> SpikingGraph | Target:
        """What `file` puts under target `name`: weights for the student, else a graph.

        Raises:
            FormatError: no such file, foreign or damaged.
        """
        if name == StudentTarget.name:
            return StudentTarget(file)
        return read(file, dt=self.graph.dt, steps=self.graph.steps)
