"""What invented images are like, and whether a figure without data finds the winner.

    python benchmarks/criterion.py SWEEP [SWEEP ...] --real NAME:ROOT@train[:5000]
        [--crop N] [--out FILE]

SWEEP is the --out of `stars bench ablation`, finished; --real names real images, --crop
says by how many pixels they were shifted where the teacher learnt them. Prints two
tables and writes benchmarks/results/criterion.json, or FILE.

The first is of the newest images of each cell, means over the seeds, and of the real
ones, as they are and mirrored and shifted: values of the priors `batch_norm`, `tail`
and `relational` (this one beside the cell's student, which is shown real images too),
the share of the teacher's BatchNorm inputs beyond 1, 2 and 3 deviations, and by how
much a pixel deviates within a class.

The second is of the students: how often each agrees with the teacher on images that it
was not trained on. These are of all cells but the ones of its own method and seed,
whose generator was the same at first. It says how that goes with the accuracy on real
images, and what choosing by it would have cost.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from stars import data, student_file, teacher as teachers
from stars.architectures.network import Network
from stars.augment import augment
from stars.config import DistillConfig, SynthesisConfig
from stars.data import LabelledImages
from stars.distillation import quantised
from stars.encode import DirectEncoding
from stars.measurement import accuracy
from stars.outputs import Outputs
from stars.priors.batch_norm import batch_norm
from stars.priors.exceedance import channels
from stars.priors.relational import relational
from stars.priors.state import SynthesisState
from stars.priors.tail import tail
from stars.run import Run
from stars.synthesis.critic import Critic
from stars.teacher import Teacher

Row = dict[str, Any]

RESULTS = Path(__file__).parent / "results" / "criterion.json"
NEWEST = 512  # images of a cell in the first table
HELD_BACK = 96  # images of each cell that others are asked about
BEYOND = (1.0, 2.0, 3.0)  # deviations


@dataclass(frozen=True)
class Cell:
    """A finished cell of a sweep.

    Args:
        sweep: the name of the sweep's folder.
        method, variant, seed: its labels.
        images: its bank, uint8 [M, C, H, W].
        student, encoding: before the grid.
        accuracy: of that student on the real images, 0 to 1, as the sweep measured it.
    """

    sweep: str
    method: str
    variant: str
    seed: int
    images: NDArray[np.uint8]
    student: Network
    encoding: DirectEncoding
    accuracy: float

    @property
    def origin(self) -> tuple[str, int]:
        """What its generator began with."""
        return self.method, self.seed


def cells(folder: Path) -> list[Cell]:
    """The finished cells of one sweep."""
    found = []
    name = folder.resolve().name
    for row in json.loads((folder / "ablation.json").read_text("utf-8"))["rows"]:
        if row["error"] is not None:
            continue
        method, variant, seed = row["method"], row["variant"], row["seed"]
        run = Run.open(folder / "cells" / f"{method}-{variant}-{seed}")
        checkpoint = run.load_checkpoint()
        if checkpoint is None:
            raise SystemExit(f"'{run.path}' has no checkpoint any more")
        student, file = student_file.load(run.float_student_path)
        images = checkpoint["distillation"]["bank"].numpy()
        about = (images, student, file.encoding, row["student_accuracy"])
        found.append(Cell(name, method, variant, seed, *about))
    return found


def judged(images: NDArray[np.uint8], critic: Critic, cell: Cell) -> SynthesisState:
    """What the teacher and a cell's student say of images [N, C, H, W]."""

    def see(normal: Tensor) -> Outputs:
        outputs: Outputs = cell.student(quantised(normal, cell.encoding))
        return outputs

    normal = critic.teacher.normalise(torch.from_numpy(images))
    return critic.state(normal, None, see)


def traits(images: NDArray[np.uint8], critic: Critic, cell: Cell) -> Row:
    """Figures of images [N, C, H, W], beside a cell's student."""
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
    """Each student's share of equal answers on images that are held back from it."""
    samples = [spaced(cell.images, HELD_BACK) for cell in found]
    answers = [named_by(teacher, images) for images in samples]
    shares = []
    for cell in found:
        others = [n for n, other in enumerate(found) if other.origin != cell.origin]
        images = np.concatenate([samples[n] for n in others])
        labels = np.concatenate([answers[n] for n in others])
        held_back = LabelledImages(images, labels)
        shares.append(accuracy(cell.student, cell.encoding, held_back))
    return shares


def mean_traits(group: Sequence[Cell], critic: Critic, real: NDArray[np.uint8]) -> Row:
    """Means of `traits` over cells that differ in their seeds alone."""
    rows = [traits(cell.images[-NEWEST:], critic, cell) for cell in group]
    with torch.no_grad():
        for row, cell in zip(rows, group, strict=True):
            row["relational, real"] = float(relational(judged(real, critic, cell)))
            row["accuracy"] = cell.accuracy
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    first = group[0]
    label = f"{first.sweep}: {first.method}, {first.variant}"
    return {"images": label, "seeds": len(group), **means}


def spaced(images: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` of the images, from the oldest to the newest."""
    chosen: NDArray[np.uint8] = images[
        np.linspace(0, len(images) - 1, count).round().astype(int)
    ]
    return chosen


def named_by(teacher: Teacher, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The teacher's classes of images [N, C, H, W]: [N]."""
    normal = teacher.normalise(torch.from_numpy(images))
    outputs = teacher.answer(normal, bf16=False)
    named: NDArray[np.int64] = outputs.mean_logits.argmax(1).numpy()
    return named


def foretold(found: Sequence[Cell], shares: Sequence[float]) -> Row:
    """How agreement goes with accuracy, and what choosing the highest would cost."""
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


def teacher_of(folders: Sequence[Path]) -> Teacher:
    """The one teacher of all cells of all sweeps."""
    paths = [path for folder in folders for path in (folder / "cells").iterdir()]
    runs = [Run.open(path) for path in paths if path.is_dir()]
    configs = [DistillConfig.model_validate(run.read_config()) for run in runs]
    if any(config.teacher != configs[0].teacher for config in configs):
        raise SystemExit("the sweeps have more than one teacher")
    source = configs[0].teacher
    return teachers.load(source.source, teachers.spec_of(source))


def table(rows: Sequence[Row]) -> str:
    """Rows in Markdown, with the columns of the first."""

    def text(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [[*rows[0]], ["---"] * len(rows[0])]
    lines += [[text(row.get(name, "")) for name in rows[0]] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    """Read the sweeps, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="+", type=Path, metavar="SWEEP")
    parser.add_argument("--real", required=True, metavar="NAME:ROOT@train[:5000]")
    parser.add_argument("--crop", type=int, default=2, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    found = [cell for folder in options.sweeps for cell in cells(folder)]
    teacher = teacher_of(options.sweeps)
    critic = Critic(teacher, (), SynthesisConfig(bf16=False))
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.sweep, cell.method, cell.variant].append(cell)
    real = data.load(options.real).first(NEWEST).images
    images = [mean_traits(group, critic, real) for group in groups.values()]
    rng = np.random.default_rng(0)
    moved = augment(torch.from_numpy(real), rng, flip=True, crop=options.crop).numpy()
    for label, shown in (("real", real), ("real, moved", moved)):
        row = traits(shown, critic, found[0])
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
    document = {"images": images, "criterion": criterion, "students": students}
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
