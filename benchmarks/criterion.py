"""Statistics of synthetic images, and a data-free criterion for the best student.

    python benchmarks/criterion.py SWEEP [SWEEP ...] --real NAME:ROOT@train[:5000]
        [--crop N] [--out FILE]

SWEEP is the --out folder of a finished `stars bench ablation`. --real names real
images, and --crop the number of pixels by which they were shifted in the teacher's
training. Prints two tables and writes benchmarks/results/criterion.json, or FILE.

The first table describes the newest images of each cell, as means over the seeds, and
the real images, both unchanged and mirrored and shifted. Its columns are the priors
`batch_norm`, `tail` and `relational` (with the cell's student, also on real images),
the share of the teacher's BatchNorm inputs beyond 1, 2 and 3 standard deviations, and
the standard deviation of a pixel within a class.

The second table describes the students: how often each agrees with the teacher on
images that it was not trained on. These come from all cells except those of its own
method and seed, whose generator had the same initial weights. The table correlates this
agreement with the accuracy on real images, and shows what choosing by it would cost.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from stars import teacher as teachers
from stars.config.models import DistillConfig, SynthesisConfig, TeacherConfig
from stars.data import images as data
from stars.data.augment import augment
from stars.data.images import LabeledImages
from stars.distillation.distiller import quantized
from stars.distillation.evaluation import accuracy
from stars.errors import DataError, StarsError
from stars.files.writing import read_json, write_json
from stars.graph.encoding import DirectEncoding
from stars.networks import student_file
from stars.networks.network import Network
from stars.networks.outputs import Outputs
from stars.priors.batch_norm import batch_norm
from stars.priors.exceedance import channels
from stars.priors.relational import relational
from stars.priors.state import SynthesisState
from stars.priors.tail import tail
from stars.run_directory import Run
from stars.synthesis.critic import Critic
from stars.teacher.teacher import Teacher

Row = dict[str, Any]

RESULTS = Path(__file__).parent / "results" / "criterion.json"
SCHEMA = "stars.bench.ablation/1"
NEWEST = 512  # images per cell in the first table
HELD_BACK = 96  # images per cell on which other students are compared
BEYOND = (1.0, 2.0, 3.0)  # standard deviations


@dataclass(frozen=True)
class Cell:
    """A finished cell of a sweep.

    Args:
        sweep: the folder of its sweep, as on the command line.
        method, variant, seed: its labels.
        images: its bank, uint8 [M, C, H, W].
        student, encoding: of the student before the grid.
        accuracy: of this student on real images, 0 to 1, as the sweep measured it.
        teacher: of the run.
    """

    sweep: str
    method: str
    variant: str
    seed: int
    images: NDArray[np.uint8]
    student: Network
    encoding: DirectEncoding
    accuracy: float
    teacher: TeacherConfig

    @property
    def origin(self) -> tuple[str, int]:
        """Method and seed, which fix the generator's initial weights."""
        return self.method, self.seed

    def see(self, images: Tensor) -> Outputs:
        """The student's outputs on normalized images [N, C, H, W]."""
        outputs: Outputs = self.student(quantized(images, self.encoding))
        return outputs


def cells(folder: Path) -> list[Cell]:
    """The finished cells of one sweep.

    Raises:
        FormatError, DataError: the sweep is not finished, or a file of it is damaged.
    """
    found = []
    document = read_json(folder / "ablation.json")
    if document.get("schema") != SCHEMA:
        raise DataError(f"'{folder}' is not a sweep of `stars bench ablation`")
    for row in document["rows"]:
        if row["error"] is not None:
            continue
        method, variant, seed = row["method"], row["variant"], row["seed"]
        run = Run.open(folder / "cells" / f"{method}-{variant}-{seed}")
        checkpoint = run.load_checkpoint()
        if checkpoint is None:
            raise DataError(f"'{run.path}' has no checkpoint; run the sweep again")
        student, file = student_file.load(run.float_student_path)
        images = checkpoint["distillation"]["bank"].numpy()
        config = DistillConfig.model_validate(run.read_config())
        about = (images, student, file.encoding, row["student_accuracy"])
        found.append(Cell(str(folder), method, variant, seed, *about, config.teacher))
    return found


def judged(images: NDArray[np.uint8], critic: Critic, cell: Cell) -> SynthesisState:
    """The outputs of the teacher and a cell's student on images [N, C, H, W]."""
    normal = critic.teacher.normalize(torch.from_numpy(images))
    return critic.state(normal, None, cell.see)


def traits(images: NDArray[np.uint8], critic: Critic, cell: Cell) -> Row:
    """Statistics of images [N, C, H, W], together with a cell's student."""
    with torch.no_grad():
        state = judged(images, critic, cell)
        layers = list(channels(state.taps))
        z = [(layer.inputs - layer.mean) / layer.deviation for layer in layers]
        named = state.labels.numpy()
        spread = [images[named == k].std(0).mean() / 255 for k in np.unique(named)]
        return {
            "batch_norm": float(batch_norm(state)),
            "tail": float(tail(state)),
            "relational": float(relational(state)),
            **{
                f"beyond_{k:.0f}": fmean(float((a > k).float().mean()) for a in z)
                for k in BEYOND
            },
            "spread": float(np.mean(spread)),
        }


def agreements(found: Sequence[Cell], teacher: Teacher) -> list[float]:
    """How often, 0 to 1, each student agrees with the teacher on held-back images."""
    samples = [spaced(cell.images, HELD_BACK) for cell in found]
    answers = [named_by(teacher, images) for images in samples]
    shares = []
    for cell in found:
        others = [n for n, other in enumerate(found) if other.origin != cell.origin]
        images = np.concatenate([samples[n] for n in others])
        labels = np.concatenate([answers[n] for n in others])
        held_back = LabeledImages(images, labels)
        shares.append(accuracy(cell.student, cell.encoding, held_back))
    return shares


def mean_traits(group: Sequence[Cell], critic: Critic, real: SynthesisState) -> Row:
    """Means of `traits` over cells that differ only in their seeds.

    Args:
        group: the cells.
        critic: of the newest images of each cell.
        real: real images, on which each cell's student runs too.
    """
    rows = [traits(cell.images[-NEWEST:], critic, cell) for cell in group]
    with torch.no_grad():
        for row, cell in zip(rows, group, strict=True):
            row["relational, real"] = float(relational(replace(real, see=cell.see)))
            row["accuracy"] = cell.accuracy
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    first = group[0]
    label = f"{first.sweep}: {first.method}, {first.variant}"
    return {"images": label, "seeds": len(group), **means}


def spaced(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` of the images, evenly spaced from the oldest to the newest."""
    chosen: NDArray[np.uint8] = images[
        np.linspace(0, len(images) - 1, count).round().astype(int)
    ]
    return chosen


def named_by(teacher: Teacher, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The teacher's predictions [N] for images [N, C, H, W]."""
    normal = teacher.normalize(torch.from_numpy(images))
    outputs = teacher.answer(normal, bf16=False)
    named: NDArray[np.int64] = outputs.mean_logits.argmax(1).numpy()
    return named


def foretold(found: Sequence[Cell], shares: Sequence[float]) -> Row:
    """The correlation of agreement and accuracy, and the cost of choosing by it."""
    accuracies = [cell.accuracy for cell in found]
    chosen = int(np.argmax(shares))
    return {
        "students": len(found),
        "pearson": float(pearsonr(shares, accuracies).statistic),
        "spearman": float(spearmanr(shares, accuracies).statistic),
        "chosen_accuracy": accuracies[chosen],
        "best_accuracy": max(accuracies),
        "mean_accuracy": fmean(accuracies),
    }


def teacher_of(found: Sequence[Cell]) -> Teacher:
    """The one teacher of all cells.

    Raises:
        DataError: there are several.
    """
    source = found[0].teacher
    if any(cell.teacher != source for cell in found):
        raise DataError("the sweeps have several teachers; give sweeps of one teacher")
    return teachers.load(source.source, teachers.spec_of(source))


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table with the columns of the first row."""

    def text(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [[*rows[0]], ["---"] * len(rows[0])]
    lines += [[text(row.get(name, "")) for name in rows[0]] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def measured(options: argparse.Namespace) -> Row:
    """Print both tables; their content, and the results of each student.

    Raises:
        StarsError: a sweep is unfinished or damaged, the sweeps have several teachers,
            or all cells have one method and seed.
    """
    found = [cell for folder in options.sweeps for cell in cells(folder)]
    if len({cell.origin for cell in found}) < 2:
        raise DataError(
            "the finished cells have one method and seed; give a sweep of at least two"
        )
    teacher = teacher_of(found)
    critic = Critic(teacher, (), SynthesisConfig(bf16=False))
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.sweep, cell.method, cell.variant].append(cell)
    real = data.load(options.real).first(NEWEST).images
    with torch.no_grad():
        shown = judged(real, critic, found[0])
    images = [mean_traits(group, critic, shown) for group in groups.values()]
    rng = np.random.default_rng(0)
    moved = augment(torch.from_numpy(real), rng, flip=True, crop=options.crop).numpy()
    for label, pixels in (("real", real), ("real, moved", moved)):
        row = traits(pixels, critic, found[0])
        images.append({"images": label, **row, "relational": ""})
    print(table(images))
    shares = agreements(found, teacher)
    methods = list(dict.fromkeys(cell.method for cell in found))
    criterion = [{"of": "all", **foretold(found, shares)}]
    for method in methods:
        chosen = [n for n, cell in enumerate(found) if cell.method == method]
        if len(chosen) > 2:
            row = foretold([found[n] for n in chosen], [shares[n] for n in chosen])
            criterion.append({"of": method, **row})
    print(table(criterion))
    students = [
        {
            "sweep": cell.sweep,
            "method": cell.method,
            "variant": cell.variant,
            "seed": cell.seed,
            "agreement": share,
            "accuracy": cell.accuracy,
        }
        for cell, share in zip(found, shares, strict=True)
    ]
    return {"images": images, "criterion": criterion, "students": students}


def main() -> None:
    """Read the sweeps, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP")
    parser.add_argument("--real", required=True, metavar="NAME:ROOT@train[:5000]")
    parser.add_argument("--crop", type=int, default=2, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    try:
        document = measured(options)
    except (StarsError, OSError) as error:
        raise SystemExit(f"criterion: {error}") from error
    write_json(options.out, document)


if __name__ == "__main__":
    main()
