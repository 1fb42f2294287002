"""A sweep: many distillations in separate processes, and a table of their results.

A cell is a configuration. `stars distill` runs it into DIR/cells/NAME. So it can be
resumed, and its failure does not affect other cells.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stars.config.models import DistillConfig, to_toml
from stars.errors import ConfigError, FormatError
from stars.files.json_toml import parse_json
from stars.files.writing import read_json, write_text

Row = dict[str, Any]  # labels, seed, accuracies, seconds, costs, error
Note = Callable[[str], None]
FIGURES = ("teacher_accuracy", "student_accuracy", "grid_accuracy", "seconds")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Cell:
    """One distillation of a sweep.

    Args:
        labels: tell it from other cells, besides the seed, as {"method": "dafl"}.
        config: of the run.
        budget: its required cost by metric: "teacher_images" of the synthesis,
            "student_steps". Another cost is an error.
    """

    labels: Mapping[str, str]
    config: DistillConfig
    budget: Mapping[str, int]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return "-".join([*self.labels.values(), str(self.config.seed)])


def run(
    cells: Sequence[Cell],
    folder: Path,
    program: Sequence[str],
    *,
    jobs: int,
    threads: int,
    note: Note,
) -> list[Row]:
    """Run the unfinished cells; a row for each cell, in order.

    Args:
        cells: with different names.
        folder: DIR; finished cells in it are kept.
        program: command line of `stars`.
        jobs: number of processes at a time.
        threads: of each process.
        note: called with a line for each finished cell.

    Raises:
        ConfigError: two cells have one name, or the folder holds another sweep's cell.
    """
    names = [cell.name for cell in cells]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"the sweep has {twice} twice; name each value once")
    for cell in cells:
        made = folder / "cells" / cell.name / "config.toml"
        if made.is_file() and made.read_text(encoding="utf-8") != to_toml(cell.config):
            raise ConfigError(
                f"'{made.parent}' was made with another configuration; give another"
                " --out"
            )
    rows: dict[str, Row] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = {
            pool.submit(run_cell, cell, folder / "cells", program, threads): cell
            for cell in cells
        }
        try:
            for future in as_completed(futures):
                name = futures[future].name
                rows[name] = future.result()
                note(f"{len(rows)}/{len(cells)} {name}: {in_words(rows[name])}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [rows[name] for name in names]


def run_cell(cell: Cell, folder: Path, program: Sequence[str], threads: int) -> Row:
    """The row of one cell, which is run unless it is finished."""
    path, config = folder / cell.name, folder / f"{cell.name}.toml"
    error = None
    if not finished(path):
        write_text(config, to_toml(cell.config))
        resume = ["--resume"] if (path / "config.toml").is_file() else []
        arguments = ["distill", "--config", str(config), "--out", str(path), *resume]
        environment = {k: v for k, v in os.environ.items() if k[:6] != "STARS_"}
        done = subprocess.run(
            [*program, *arguments],
            env={**environment, **dict.fromkeys(THREADS, str(threads))},
            capture_output=True,
            text=True,
            check=False,
        )
        write_text(folder / f"{cell.name}.log", done.stdout + done.stderr)
        if done.returncode != 0:
            error = last_error(done.stderr) or f"exit code {done.returncode}"
    row = {**cell.labels, "seed": cell.config.seed}
    if error is None and not finished(path):
        error = "it ended without a result"
    if error is not None:
        return {**row, "error": error}
    return checked(cell, {**row, **result_of(path), "error": None})


def finished(path: Path) -> bool:
    """Whether a run directory holds a result."""
    manifest = path / "manifest.json"
    return manifest.is_file() and "grid_accuracy" in read_json(manifest)


def result_of(path: Path) -> Row:
    """The results of a finished run, and its costs as the run counted them.

    Raises:
        FormatError: its files are damaged.
    """
    manifest = read_json(path / "manifest.json")
    try:
        text = (path / "metrics.jsonl").read_text(encoding="utf-8")
        rounds = [parse_json(line) for line in text.splitlines()]
        return {
            **{name: manifest[name] for name in FIGURES},
            "rounds_seconds": rounds[-1]["seconds"],
            "teacher_images": sum(line.get("teacher_images", 0) for line in rounds),
            "student_steps": rounds[-1]["student_steps"],
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(
            f"'{path}': its manifest or metrics are damaged ({error!r}); remove this"
            " folder, and run the sweep again"
        ) from error


def checked(cell: Cell, row: Row) -> Row:
    """The row, with an error if the run's cost is not its budget."""
    wrong = [
        f"{name} is {row[name]}, expected {expected} by the budget"
        for name, expected in cell.budget.items()
        if row[name] != expected
    ]
    return {**row, "error": "; ".join(wrong)} if wrong else row


def last_error(text: str) -> str:
    """The last line that begins with "error:", or ""."""
    errors = [x for x in text.splitlines() if x.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else ""


def in_words(row: Row) -> str:
    """A row as text for the progress line."""
    if row["error"] is not None:
        return f"failed: {row['error']}"
    share = row["student_accuracy"]
    measured = "not measured" if share is None else f"{100 * share:.2f} %"
    return f"student {measured}, {row['seconds']:.0f} s"


def summary(
    rows: Sequence[Row], labels: Sequence[str], base: Mapping[str, str]
) -> list[Row]:
    """Statistics over the seeds, one row for each combination of labels.

    Args:
        rows: of `run`.
        labels: their names.
        base: label and value that gains are relative to, as {"variant": "base"}, with
            the same seeds and the other labels equal.

    Returns:
        For each combination: labels, seeds, failed, and mean and sd (n - 1; None for
        one seed) of student_accuracy, grid_accuracy and gain, 0 to 1, of seconds, and
        of milliseconds per step of the student, including synthesis.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[label] for label in labels), []).append(row)
    result = []
    for key, group in groups.items():
        named = dict(zip(labels, key, strict=True))
        good = [row for row in group if row["error"] is None]
        other = groups.get(tuple({**named, **base}.values()), [])
        before = {r["seed"]: r for r in other if r["error"] is None}
        pairs = [(row, before[row["seed"]]) for row in good if row["seed"] in before]
        figures = {
            **{name: [r[name] for r in good] for name in FIGURES[1:3]},
            "gain": [difference(a, b) for a, b in pairs],
            "seconds": [r["seconds"] for r in good],
            "step_milliseconds": [
                1e3 * r["rounds_seconds"] / r["student_steps"]
                for r in good
                if r["student_steps"]
            ],
        }
        result.append(
            {
                **named,
                "seeds": len(good),
                "failed": len(group) - len(good),
                **{name: mean_and_sd(values) for name, values in figures.items()},
            }
        )
    return result


def difference(row: Row, base: Row) -> float | None:
    """How much more accurate the student of one row is than that of another."""
    mine, theirs = row["student_accuracy"], base["student_accuracy"]
    return None if mine is None or theirs is None else mine - theirs


def mean_and_sd(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation (n - 1); None if there are too few values."""
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }


def markdown(rows: Sequence[Row], labels: Sequence[str], title: str) -> str:
    """The summary as a Markdown table; accuracies are in percent."""
    names = {
        "student_accuracy": "student, %",
        "grid_accuracy": "on the grid, %",
        "gain": "gain, points",
        "seconds": "seconds",
        "step_milliseconds": "ms a step",
    }
    head = [*labels, "seeds", *names.values(), "failed"]
    lines = [title, "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row[label] for label in labels] + [str(row["seeds"])]
        for name in names:
            scale = 1 if name in ("seconds", "step_milliseconds") else 100
            cells.append(in_figures(row[name], scale))
        lines.append("| " + " | ".join([*cells, str(row["failed"])]) + " |")
    return "\n".join(lines) + "\n"


def in_figures(value: Mapping[str, float | None], scale: float) -> str:
    """The text "mean +- sd", "mean", or a dash."""
    mean, sd = value["mean"], value["sd"]
    if mean is None:
        return "-"
    text = f"{scale * mean:.2f}"
    return text if sd is None else f"{text} +- {scale * sd:.2f}"
