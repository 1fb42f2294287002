"""The readers of files of strangers, a valid file of each, and how to change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from changes import (
    Change,
    json_lines,
    json_text,
    nir_objects,
    npz_members,
    onnx_fields,
    png_size,
    safetensors_header,
    toml_values,
)
from PIL import Image

from export import from_nir, to_nir, to_onnx
from stars.benchmark.sweep import FIGURES, result_of
from stars.config.models import DistillConfig, distill_config, to_toml
from stars.data import image_folder, images as data
from stars.errors import StarsError
from stars.graph.encoding import DirectEncoding
from stars.grid import plan_file
from stars.grid.lowering import lower
from stars.grid.quantization import quantize
from stars.networks import student_file
from stars.networks.architectures import blueprint
from stars.networks.lif import LIFConstants
from stars.networks.network import ann
from stars.networks.student import build
from stars.run_directory import Run
from stars.teacher import loading
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher
from stars.testing.random_graphs import random_graph
from targets.hardware import costs, limits
from targets.inputs import read_array
from targets.report import read as report
from targets.simulators import onnx_runtime

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1"


def graph_of(seed: int = 3) -> Any:
    return quantize(random_graph(np.random.default_rng(seed), kind="residual"))


def nir_file(path: Path) -> None:
    to_nir.write(graph_of(), path)


def onnx_file(path: Path) -> None:
    to_onnx.write(graph_of(), path, form="scan", record=True)


def read_onnx(path: Path) -> None:
    session, _ = onnx_runtime.open_file(path, threads=1)
    (shape,) = [i.shape for i in session.get_inputs() if i.name == "input"]
    free = [n if isinstance(n, int) and 0 < n < 64 else 2 for n in shape]
    onnx_runtime.run_file(path, np.zeros(free), threads=1)


def plan_npz(path: Path) -> None:
    plan_file.write_plan(path, lower(graph_of()))


def images_npz(path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 1, 8, 8), dtype=np.uint8)
    np.savez_compressed(path, images=images, labels=np.arange(9) % 3)


def every_one(*reads: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Reads in each of these ways; refuses what all of them refuse."""

    def read(path: Path) -> None:
        refused = []
        for one in reads:
            try:
                one(path)
            except StarsError as error:
                refused.append(error)
        if len(refused) == len(reads):
            raise refused[-1]

    return read


def small_blueprint() -> Any:
    return blueprint("resnet", (1, 8, 8), 3, {"widths": [3, 4], "depths": [1, 1]})


def student_tensors(path: Path) -> None:
    options = {"widths": [3, 4], "depths": [1, 1]}
    encoding = DirectEncoding((0.4,), (0.3,))
    file = student_file.StudentFile(
        "resnet", options, (1, 8, 8), 3, 2, "super", encoding, {}
    )
    student_file.save(build(small_blueprint(), 2, LIFConstants()), file, path)


def teacher_of() -> Teacher:
    options = {"widths": [3, 4], "depths": [1, 1]}
    spec = TeacherSpec("resnet", options, (1, 8, 8), 3, (0.4,), (0.3,))
    return Teacher(ann(small_blueprint()), spec)


def teacher_tensors(path: Path) -> None:
    loading.save(teacher_of(), path)


def teacher_pt(path: Path) -> None:
    torch.save(teacher_of().network.state_dict(), path)


def config_toml(path: Path) -> None:
    path.write_text(to_toml(DistillConfig()))


def costs_toml(path: Path) -> None:
    text = (Path(costs.__file__).parent / "loihi1.toml").read_text()
    path.write_text(text.replace('"loihi1"', '"own"'))


def manifest_json(path: Path) -> None:
    known = {"schema": 1, "seed": 0, "sha256": {"student.safetensors": "ab"}}
    path.write_text(json.dumps(known))


def record_in_manifest(path: Path) -> None:
    run = Run(path.parent)
    (path.parent / "artifact").write_bytes(b"x")
    run.record_artifact(path.parent / "artifact")


def picture(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(path)


def limits_toml(path: Path) -> None:
    path.write_bytes((Path(limits.__file__).parent / "loihi1.toml").read_bytes())


def golden(name: str) -> Callable[[Path], None]:
    """A file of an earlier version, as the valid one."""
    return lambda path: path.write_bytes((GOLDEN / name).read_bytes())


def cell_of_sweep(path: Path) -> None:
    (path.parent / "manifest.json").write_text(json.dumps(dict.fromkeys(FIGURES, 1.0)))
    lines = [{"round": i, "seconds": 1.0, "student_steps": 9} for i in (1, 2)]
    path.write_text("\n".join(map(json.dumps, lines)))


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    Args:
        file: its name.
        make: writes a valid one.
        read: returns, or raises a StarsError.
        changes: those that know its format.
    """

    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    changes: tuple[Change, ...]


READERS = {
    "nir": Reader("net.nir", nir_file, from_nir.read, (nir_objects,)),
    "onnx": Reader("net.onnx", onnx_file, read_onnx, (onnx_fields,)),
    "plan": Reader("plan.npz", plan_npz, plan_file.read_plan, (npz_members,)),
    "images": Reader(
        "images.npz",
        images_npz,
        every_one(lambda path: data.from_npz(path, "test"), read_array),
        (npz_members,),
    ),
    "student": Reader(
        "s.safetensors", student_tensors, student_file.load, (safetensors_header,)
    ),
    "teacher": Reader(
        "t.safetensors",
        teacher_tensors,
        lambda path: loading.load(str(path)),
        (safetensors_header,),
    ),
    "pt": Reader("t.pt", teacher_pt, loading.read_pickle, ()),
    "config": Reader(
        "c.toml",
        config_toml,
        lambda path: distill_config("default", path, {}),
        (toml_values,),
    ),
    "costs": Reader("c.toml", costs_toml, costs.read_table, (toml_values,)),
    "limits": Reader(
        "l.toml",
        limits_toml,
        lambda path: limits.load_limits("", path),
        (toml_values,),
    ),
    "manifest": Reader(
        "manifest.json",
        manifest_json,
        every_one(report.read_manifest, record_in_manifest),
        (json_text,),
    ),
    "parity": Reader(
        "parity.json", golden("parity.json"), report.read_parity, (json_text,)
    ),
    "energy": Reader(
        "energy.json", golden("energy.json"), report.read_energy, (json_text,)
    ),
    "sweep": Reader(
        "metrics.jsonl",
        cell_of_sweep,
        lambda path: result_of(path.parent),
        (json_lines,),
    ),
    "metrics": Reader(
        "metrics.jsonl", golden("metrics.jsonl"), report.read_metrics, (json_lines,)
    ),
    "png": Reader("i.png", picture, image_folder.read_image, (png_size,)),
}
