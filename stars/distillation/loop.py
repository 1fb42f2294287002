"""The loop: rounds with checkpoints, then the grid, evaluation and the files.

A run that is killed and resumed gives the same student as an uninterrupted one.
"""

from __future__ import annotations

import time
from dataclasses import replace

from stars.config.models import DistillConfig
from stars.data.images import LabeledImages
from stars.distillation.diagnostics import check_speaks, tell
from stars.distillation.distiller import Distillation
from stars.distillation.evaluation import DistillResult, Students, check_images, measure
from stars.errors import DataError, TrainingError
from stars.networks.grid_layers import layer_grids
from stars.networks.student_file import save
from stars.run_directory import Progress, Run
from stars.runtime.distributed import from_first, processes
from stars.teacher.teacher import Teacher

SHARED_IMAGES = 0.01  # share of test images; data sets hold a few pictures twice


def run_rounds(
    distillation: Distillation, run: Run | None, progress: Progress
) -> float:
    """Run the remaining rounds, each with a checkpoint; the seconds of all rounds.

    A process without a run takes part and writes nothing.
    """
    rounds = distillation.config.synthesis.rounds
    done, seconds = 0, 0.0
    state = from_first(run.load_checkpoint() if run else None)
    if state is not None:
        distillation.load_state_dict(state["distillation"])
        done, seconds = state["round"], state["seconds"]
    if run:
        run.forget_log(after=done)
    for number in range(done + 1, rounds + 1):
        started = time.monotonic()
        try:
            metrics = distillation.round(number)
        except TrainingError as error:
            step = distillation.schedule.last_epoch + 1
            raise TrainingError(f"round {number}, step {step}: {error}") from error
        troubles = (
            distillation.troubles()
        )  # in all processes: each holds part of the bank
        if run:
            tell(troubles, f"round {number}", distillation.config.trouble)
        seconds += time.monotonic() - started
        if run:
            run.log({"round": number, "seconds": round(seconds, 1), **metrics})
        if distillation.real is None:
            distillation.bank.write_png(run.synthetic_path if run else None)
        state = {"distillation": distillation.state_dict(), "round": number}
        if run:
            run.save_checkpoint({**state, "seconds": seconds})
        shown = {k: v for k, v in metrics.items() if "/" not in k}  # no gradients
        progress("distill", number, rounds, shown)
    return seconds


def distill(
    config: DistillConfig,
    teacher: Teacher,
    test: LabeledImages | None,
    run: Run,
    progress: Progress,
    real: LabeledImages | None = None,
) -> DistillResult:
    """Distill `teacher` into `run`, and write all files of the run.

    Continues from the run's last checkpoint if there is one. An error before the first
    checkpoint removes the directory.

    Args:
        config: of the run.
        teacher: frozen.
        test: real images, only for the accuracies; nothing is chosen on them.
        run: an open run directory.
        progress: called after each round and step.
        real: training images to learn from instead of synthetic ones.

    Raises:
        ConfigError: an unknown name or option.
        DataError: test or training images do not fit the teacher, or are the same.
        TrainingError: a loss is not finite, or the student is silent.
        LimitError: the student cannot be put on the grid.
    """
    with run.begun():
        if test is not None:
            check_images(test, teacher, "test")
        if real is not None:
            check_images(real, teacher, "training")
            if test is not None and test.share_in(real) > SHARED_IMAGES:
                raise DataError(
                    f"the test images are among the training images {config.data!r};"
                    " give other test data, or 'none'"
                )
        distillation = Distillation(config, teacher, real)
        seconds = run_rounds(distillation, run, progress)
    started = time.monotonic()
    grid, images = distillation.finished(progress)
    seconds += time.monotonic() - started
    file = distillation.file()
    students = Students(
        student=distillation.student.cpu().eval(),
        grid=grid.cpu(),
        encoding=file.encoding,
    )
    result = measure(
        students,
        teacher.cpu(),
        test,
        images,
        {
            "teacher": config.teacher.source,
            "seed": str(config.seed),
            **({"data": config.data} if real is not None else {}),
        },
        seconds,
    )
    check_speaks(result.rates, config.trouble)
    save(students.student, file, run.float_student_path)
    save(students.grid, replace(file, grids=layer_grids(grid)), run.student_path)
    run.add_to_manifest(
        {
            "teacher": {
                "source": config.teacher.source,
                "sha256": distillation.checksums["teacher"],
            },
            "data": {"source": config.data, "sha256": distillation.checksums["data"]},
            "processes": processes(),
            **result.to_json(),
        }
    )
    for path in (run.float_student_path, run.student_path):
        run.record_artifact(path)
    return result


def follow(
    config: DistillConfig, teacher: Teacher, real: LabeledImages | None = None
) -> None:
    """Take part in the `distill` that the first process runs.

    Raises:
        ConfigError, TrainingError, LimitError: as there.
    """
    distillation = Distillation(config, teacher, real)
    run_rounds(distillation, None, unseen)
    distillation.finished(unseen)


def unseen(stage: str, done: int, total: int, values: dict[str, float]) -> None:
    """Show no progress."""
