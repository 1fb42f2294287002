"""distill(teacher) -> DistilledStudent: a whole distillation in one call.

`stars distill` is this function behind flags.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stars.config.arguments import Term, distill_settings
from stars.config.models import DistillConfig
from stars.distillation.inputs import read_inputs
from stars.distillation.loop import distill as run_loop, follow, unseen
from stars.errors import FormatError
from stars.files.writing import read_json
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.certificate import Certificate, certify
from stars.run_directory import Progress, Run
from stars.runtime.allocator import keep_freed_memory
from stars.runtime.distributed import Group
from stars.teacher.loading import from_module
from stars.teacher.teacher import Teacher

NETWORKS = ("teacher", "student", "grid")
REPORTED = (
    *(f"{name}_accuracy" for name in NETWORKS),
    "rates",
    "certificate",
    "warnings",
    "seconds",
)


@dataclass(frozen=True, eq=False)
class DistilledStudent:
    """A finished run: the spiking student, its certificate, and its accuracies.

    Args:
        run: the run directory that holds everything.
        graph: the student on the grid, as read from its NIR file.
        certificate: the proof of how many steps all targets agree for.
        report: the measurements of the run's last step, by name.
    """

    run: Run
    graph: SpikingGraph
    certificate: Certificate
    report: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> DistilledStudent:
        """The student of a finished run directory.

        Raises:
            DataError: the path is no run directory.
            FormatError: its distillation is unfinished, or a file is damaged.
        """
        run = Run.open(Path(path))
        if not run.graph_path.is_file():
            reason = run.no_network()[0]
            raise FormatError(
                f"run '{run.path}': {reason}; call stars.distill with resume=True"
            )
        graph: SpikingGraph = import_module("export.from_nir").read(run.graph_path)
        manifest = read_json(run.manifest_path)
        report = {name: manifest.get(name) for name in REPORTED}
        return cls(run, graph, certify(graph), report)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run.path

    @property
    def accuracies(self) -> dict[str, float | None]:
        """Test accuracy, 0 to 1, of teacher, float student and student on the grid.

        None if the run had no test images.
        """
        return {name: self.report.get(f"{name}_accuracy") for name in NETWORKS}

    @property
    def accuracy(self) -> float | None:
        """The test accuracy of the student on the grid, which is the one to deploy."""
        return self.accuracies["grid"]

    @property
    def images(self) -> NDArray[np.uint8]:
        """The synthetic images that the student learned from, uint8 [M, C, H, W].

        Raises:
            FormatError: the run's checkpoints are gone or damaged.
        """
        state = self.run.load_checkpoint()
        bank = None if state is None else state["distillation"]["bank"]
        if bank is None:
            raise FormatError(
                f"run '{self.path}' holds no synthetic images: it learned from real"
                " ones, or its checkpoints were deleted"
            )
        images: NDArray[np.uint8] = bank.numpy()
        return images

    def __str__(self) -> str:
        """Accuracies, size and certificate, in three lines."""
        shown = ", ".join(
            f"{name} {'not measured' if value is None else f'{100 * value:.2f} %'}"
            for name, value in self.accuracies.items()
        )
        return (
            f"spiking student of {self.graph.neuron_count():,} neurons,"
            f" T = {self.graph.steps}\naccuracy: {shown}\n"
            f"certificate: {self.certificate.verdict}"
        )


def distill(  # noqa: PLR0913 - every argument but the first is optional
    teacher: str | os.PathLike[str] | nn.Module | None = None,
    *,
    preset: str = "default",
    out: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    student: str | None = None,
    steps: int | None = None,
    losses: Iterable[Term] | None = None,
    priors: Iterable[Term] | None = None,
    method: str | Callable[..., Any] | None = None,
    data: str | None = None,
    test_data: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    backend: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> DistilledStudent:
    """Distill a trained ANN into a spiking student on the grid, without real data.

    >>> import stars
    >>> student = stars.distill("fashion-mnist", preset="quick")  # doctest: +SKIP

    Args:
        teacher: "fashion-mnist" (bundled; the default), a .safetensors file, a
            checkpoint, "module:function", or an nn.Module with the attributes
            input_shape, (C, H, W), classes, mean and deviation, one value a channel of
            pixel / 255.
        preset: "quick", "default" or "thorough".
        out: the run directory; None uses a temporary one, which is deleted with the
            student.
        config: a TOML file of settings; the arguments take precedence over it.
        student: the student's architecture. None: the teacher's, starting from its
            weights; a small ResNet for a teacher that is a module of your own.
        steps: T, the number of time steps for which an image is shown.
        losses: what the student minimizes: names ("kl"), names with options
            ("hta_kl:temperature=4"), mappings as in [[loss]], or functions of a module.
        priors: what synthetic images minimize besides the method's own priors.
        method: how images are synthesized: a name, or your own class with the protocol
            `stars.synthesis.Synthesizer`.
        data: real training images to learn from, for comparison.
        test_data: real images for the accuracies; "none" for none. Default: the
            bundled test images for a teacher of their data set, else none.
        seed: of every random number.
        device: "cpu" or "cuda".
        backend: "fused" or "norse-eager".
        resume: continue from the last checkpoint in `out`.
        progress: called with (stage, done, all, values by name) after each round and
            each step on the grid.

    Raises:
        ConfigError: an unknown name, option or value, or `out` is in use.
        DataError: images have another shape than the teacher's.
        FormatError: a file is missing, damaged or of another kind.
        TrainingError: a loss is not finite, or the student is silent.
        LimitError: the student does not fit the grid.
    """
    settings = distill_settings(
        preset=preset,
        config=None if config is None else Path(config),
        teacher=source_of(teacher),
        student=student,
        steps=steps,
        losses=losses,
        priors=priors,
        method=method,
        data=data,
        test_data=test_data,
        seed=seed,
        device=device,
        backend=backend,
    )
    given = from_module(teacher) if isinstance(teacher, nn.Module) else None
    show = progress or unseen
    if out is not None:
        return run_settings(
            settings, Path(out), teacher=given, resume=resume, progress=show
        )
    folder = Path(tempfile.mkdtemp(prefix="stars-"))
    try:
        found = run_settings(settings, folder / "run", teacher=given, progress=show)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def run_settings(
    settings: DistillConfig,
    out: Path,
    *,
    teacher: Teacher | None = None,
    resume: bool = False,
    progress: Progress = unseen,
) -> DistilledStudent:
    """The student of a validated configuration; raises the same errors as `distill`.

    With several processes, only the first writes the run, and all return its student.

    Args:
        settings: of the run.
        out: the run directory.
        teacher: replaces the one that `settings` names.
        resume: continue from the last checkpoint.
        progress: called after each round and each step on the grid.
    """
    keep_freed_memory()
    with Group() as group:
        source, test, real = read_inputs(settings, teacher)
        if group.first:
            run = Run.create(out, settings, resume=resume)
            with run.locked():
                result = run_loop(settings, source, test, run, progress, real)
                # By name, because the package that writes NIR imports this one.
                import_module("export.to_nir").write(result.graph, run.graph_path)
                run.record_artifact(run.graph_path)
        else:
            follow(settings, source, real)
    return DistilledStudent.open(out)


def source_of(teacher: str | os.PathLike[str] | nn.Module | None) -> str | None:
    """The name of a teacher in the configuration."""
    if teacher is None:
        return None
    if isinstance(teacher, nn.Module):
        return f"{type(teacher).__module__}:{type(teacher).__qualname__}"
    return os.fspath(teacher)
