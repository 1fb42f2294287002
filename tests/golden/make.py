"""Write tests/golden/<version>/: one file of each kind that a version writes.

    python tests/golden/make.py VERSION

To be run once, before a version is released, and never again: what it wrote then has to
be read for ever after. Needs nothing but this checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from cli.main import main as stars
from export.from_nir import read
from export.golden import golden_hashes
from stars.grid.lowering import lower
from stars.grid.plan_file import write_plan
from stars.networks.architectures import blueprint
from stars.networks.network import ann
from stars.networks.student_file import load
from stars.teacher.loading import save
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

OPTIONS = {"widths": [3, 4], "depths": [1, 1]}
CONFIG = """
test_data = "test.npz"
trouble = "warn"
[teacher]
source = "teacher.safetensors"
[student]
architecture = "vgg"
steps = 3
options = { widths = [3, 4], depths = [1, 1] }
[synthesis]
rounds = 2
steps = 2
batch_size = 12
harvest = 2
latent = 2
width = 2
bank = 24
[training]
steps = 120
batch_size = 12
[grid]
steps = 2
"""
FILES = [
    "config.toml",
    "manifest.json",
    "metrics.jsonl",
    "parity.json",
    "energy.json",
    "student.safetensors",
    "student_float.safetensors",
    "checkpoints/last.pt",
    "artifacts/student.nir",
    "artifacts/student.onnx",
]


def make(golden: Path) -> None:
    """Distill a tiny student here, and keep what that leaves."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    np.savez("test.npz", images=images, labels=np.arange(12) % 3)
    spec = TeacherSpec("vgg", OPTIONS, (1, 8, 8), 3, (0.45,), (0.3,))
    teacher = Teacher(ann(blueprint("vgg", (1, 8, 8), 3, OPTIONS)), spec)
    save(teacher, Path("teacher.safetensors"))
    Path("tiny.toml").write_text(CONFIG, encoding="utf-8")
    for command in (
        "distill --config tiny.toml --out run",
        "export run --target nir",
        "export run --target onnx",
        "parity run --target reference --target student --target norse --target loihi",
        "energy run",
    ):
        code = stars(["--quiet", *command.split()])
        if code != 0:
            sys.exit(code)
    graph = read(Path("run/artifacts/student.nir"))
    write_plan(golden / "plan.npz", lower(graph))
    for name in ("teacher.safetensors", *(f"run/{file}" for file in FILES)):
        shutil.copyfile(name, golden / Path(name).name)
    student, _ = load(Path("run/student.safetensors"))
    expected = {
        "graph": golden_hashes(graph),
        "teacher": teacher.checksum(),
        "weights": sum(p.numel() for p in student.parameters()),
    }
    text = json.dumps(expected, indent=2) + "\n"
    (golden / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    target = Path(__file__).parent.resolve() / sys.argv[1]
    target.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        make(target)
