"""Give readers many malformed files; run as a program, for a reader may crash.

    python malformed.py READER,... SEED COUNT FOLDER

Input i is made of a valid file by the random numbers of (SEED, i) alone. For each one
the reader must return or raise a StarsError. Prints one JSON object: by reader how many
were read and refused, the slowest, the peak of memory, and what went wrong, by number.
The input in work stands in FOLDER/now, should this process not survive it.
"""

from __future__ import annotations

import collections
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import torch
from PIL import Image

from export import from_nir, to_nir, to_onnx
from stars import data, image_folder, plan_file, student_file, teacher
from stars.architectures import blueprint
from stars.architectures.network import ann
from stars.config import DistillConfig, distill_config, to_toml
from stars.encode import DirectEncoding
from stars.errors import StarsError
from stars.grid import quantise
from stars.lif import LIFConstants
from stars.plan import lower
from stars.run import Run
from stars.student import build
from stars.testing import random_graph
from targets import onnx_runtime
from targets.hardware import costs
from targets.inputs import read_array

SECONDS = 5  # that one input may take
ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 1e308, 1e-320,
    float("nan"), float("inf"), "", "0", "é\0", "x" * 5000, [], {}, [[]], [1, 2, 3], [-1],
    [2**40, 2**40], {"a": 1}, [None], "../../etc/passwd", [[[[[[[[[[1]]]]]]]]]],
]  # fmt: skip
Random = np.random.Generator


# Changes that know nothing of the format


def flipped(content: bytes, rng: Random) -> bytes:
    """A few bytes have other values."""
    raw = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, len(raw), rng.integers(1, 9))
    raw[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
    return raw.tobytes()


def near_start(content: bytes, rng: Random) -> bytes:
    """As `flipped`, where headers are."""
    return flipped(content[:512], rng) + content[512:]


def truncated(content: bytes, rng: Random) -> bytes:
    """The end is missing."""
    return content[: rng.integers(0, len(content))]


def spliced(content: bytes, rng: Random) -> bytes:
    """One part is a copy of another."""
    a, b = rng.integers(0, len(content), 2)
    size = int(rng.integers(1, 200))
    return content[:a] + content[b : b + size] + content[a + size * rng.integers(2) :]


def extreme(content: bytes, rng: Random) -> bytes:
    """Two, four or eight bytes are all ones, or a large number."""
    size = int(rng.choice([2, 4, 8]))
    value = [2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (4 * size)][rng.integers(3)]
    place = int(rng.integers(0, max(1, len(content) - size)))
    middle = value.to_bytes(size, "little")
    return content[:place] + middle + content[place + size :]


PLAIN = [flipped, near_start, truncated, spliced, extreme]


# Changes that know it


def changed_json(value: Any, rng: Random) -> Any:
    """`value` with something odd at a random place in it."""
    odd = ODD[rng.integers(len(ODD))]
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return odd
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[rng.integers(len(keys))]
    copy = value.copy()
    match rng.integers(6):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, dict):
            copy["odd"] = odd
        case 1:
            copy.append(odd)
        case _:
            copy[key] = changed_json(value[key], rng)
    return copy


def json_text(content: bytes, rng: Random) -> bytes:
    return json.dumps(changed_json(json.loads(content), rng)).encode()


def safetensors_header(content: bytes, rng: Random) -> bytes:
    """A changed header, or a changed description within it."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if rng.random() < 0.7:
        ((name, text),) = header["__metadata__"].items()
        described = json.dumps(changed_json(json.loads(text), rng))
        header["__metadata__"] = {name: described}
    else:
        header = changed_json(header, rng)
    new = json.dumps(header).encode()
    return len(new).to_bytes(8, "little") + new + content[8 + size :]


def odd_array(rng: Random, kinds: str = "f8 f4 i8 u1 c16 S3 U2 M8[s] i4") -> np.ndarray:
    shape = tuple(rng.integers(0, 4, rng.integers(0, 5)))
    kind = rng.choice(kinds.split())
    return rng.integers(-128, 128, shape).astype("i8").astype(kind)


def npz_members(content: bytes, rng: Random) -> bytes:
    """A member is another array, a changed header, an object, or gone."""
    path = Path("given.npz")
    path.write_bytes(content)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    name = list(arrays)[rng.integers(len(arrays))]
    if "header" in arrays and rng.random() < 0.6:
        header = json.loads(str(arrays["header"]))
        arrays["header"] = np.array(json.dumps(changed_json(header, rng)))
    else:
        match rng.integers(5):
            case 0:
                del arrays[name]
            case 1:
                arrays[name] = np.array([{"a": 1}], dtype=object)
            case 2:
                arrays[name] = np.broadcast_to(arrays[name], (9, *arrays[name].shape))
            case 3:
                values = arrays[name].reshape(-1)[::-1].copy()
                values[: rng.integers(0, 4)] = values[-1:]
                arrays[name] = values
            case _:
                arrays[name] = odd_array(rng)
    np.savez_compressed(path, allow_pickle=True, **arrays)
    return path.read_bytes()


def nir_objects(content: bytes, rng: Random) -> bytes:
    """A dataset is another one, claims a size, lies elsewhere, or is gone."""
    path = Path("given.nir")
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[rng.integers(len(names))]
        old = file[name]
        value = old[()] if isinstance(old, h5py.Dataset) else None
        parent, leaf = old.parent, name.rpartition("/")[2]
        del file[name]
        match rng.integers(9):
            case 0:
                parent[leaf] = h5py.SoftLink("/node")
            case 1:
                parent[leaf] = h5py.ExternalLink("/etc/passwd", "/")
            case 2:
                shape = (int(rng.choice([10**6, 10**9, 2**40])),)
                parent.create_dataset(leaf, shape, "f8", chunks=(1000,))
            case 3:
                parent[leaf] = parent
            case 4 if isinstance(value, np.ndarray) and value.dtype.kind in "if":
                odd = [0, -1, 2**40, np.nan, 1e308, 5e-324, np.inf][rng.integers(7)]
                with np.errstate(all="ignore"):
                    parent[leaf] = np.where(rng.random(value.shape) < 0.5, odd, value)
            case 5 if isinstance(value, bytes):
                known = ["LIF", "Conv2d", "Affine", "Flatten", "Input", "{", "[]", "é"]
                parent[leaf] = known[rng.integers(len(known))]
            case 6 if isinstance(value, np.integer):
                parent[leaf] = int(rng.choice([-1, 0, 2, 2**31, 2**62]))
            case 7:
                parent[leaf] = odd_array(rng, "f8 f4 i8 u1 c16 S3")
            case _:
                pass
    return path.read_bytes()


def onnx_fields(content: bytes, rng: Random) -> bytes:
    """Some field of the model, at any depth, has an odd value."""
    model = onnx.load_model_from_string(content)
    message: Any = model
    for _ in range(12):
        fields = message.ListFields()
        field, value = fields[rng.integers(len(fields))]
        if field.message_type is None:
            set_odd(message, field, value, rng)
            break
        if isinstance(value, type(message)) or not hasattr(value, "__len__"):
            message = value
            continue
        index = int(rng.integers(len(value)))
        if rng.random() < 0.15:
            del value[index]
            break
        message = value[index]
        if not message.ListFields():
            break
    return bytes(model.SerializeToString())


def set_odd(message: Any, field: Any, value: Any, rng: Random) -> None:
    """Give a scalar field, or one of several, another value of its own type."""
    several = hasattr(value, "append")
    old = value[0] if several else value
    odd: Any = {
        str: ["", "Loop", "Expand", "input", "../x", "lif0", "é" * 99],
        bytes: [b"", b"\0", b"\xff" * 9],
        float: [0.0, -1.0, float("nan"), 1e38],
    }.get(type(old), [0, 1, -1, 7, 2**31 - 1, 10**12, 2**62])
    chosen = odd[rng.integers(len(odd))]
    try:
        if several:
            value[int(rng.integers(len(value)))] = chosen
        else:
            setattr(message, field.name, chosen)
    except ValueError:  # an enumeration, or 32 bits
        pass


# Readers: a valid file, what reads it, and the changes that know its format


def graph_of(seed: int = 3) -> Any:
    return quantise(random_graph(np.random.default_rng(seed), kind="residual"))


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


def read_npz(path: Path) -> None:
    for read in (lambda: data.from_npz(path, "test"), lambda: read_array(path)):
        try:
            read()
        except StarsError as error:
            caught = error
            continue
        return
    raise caught


def small_blueprint() -> Any:
    return blueprint("resnet", (1, 8, 8), 3, {"widths": [3, 4], "depths": [1, 1]})


def student_tensors(path: Path) -> None:
    options = {"widths": [3, 4], "depths": [1, 1]}
    encoding = DirectEncoding((0.4,), (0.3,))
    file = student_file.StudentFile(
        "resnet", options, (1, 8, 8), 3, 2, "super", encoding, {}
    )
    student_file.save(build(small_blueprint(), 2, LIFConstants()), file, path)


def teacher_of() -> teacher.Teacher:
    options = {"widths": [3, 4], "depths": [1, 1]}
    spec = teacher.TeacherSpec("resnet", options, (1, 8, 8), 3, (0.4,), (0.3,))
    return teacher.Teacher(ann(small_blueprint()), spec)


def teacher_tensors(path: Path) -> None:
    teacher.save(teacher_of(), path)


def teacher_pt(path: Path) -> None:
    torch.save(teacher_of().network.state_dict(), path)


def config_toml(path: Path) -> None:
    path.write_text(to_toml(DistillConfig()))


def costs_toml(path: Path) -> None:
    path.write_bytes((Path(costs.__file__).parent / "loihi1.toml").read_bytes())


def toml_values(content: bytes, rng: Random) -> bytes:
    """Another value after some `=`, or a line too many."""
    lines = content.decode().splitlines()
    index = int(rng.integers(len(lines)))
    odd = [
        "nan",
        "-1",
        "[]",
        "{}",
        "9" * 400,
        "''",
        "1e999",
        "[[[",
        "1979-05-27",
        "{a.b=1}",
    ]
    key = lines[index].partition("=")[0]
    lines[index] = f"{key}= {odd[rng.integers(len(odd))]}"
    return "\n".join(lines).encode()


def manifest_json(path: Path) -> None:
    known = {"schema": 1, "seed": 0, "sha256": {"student.safetensors": "ab"}}
    path.write_text(json.dumps(known))


def read_manifest(path: Path) -> None:
    run = Run(path.parent)
    (path.parent / "artifact").write_bytes(b"x")
    run.record_artifact(path.parent / "artifact")


def picture(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).save(path)


def png_size(content: bytes, rng: Random) -> bytes:
    """Another size, with the right checksum."""
    sizes = [int(rng.choice([0, 1, 9, 2**12, 2**16, 2**31 - 1])) for _ in range(2)]
    chunk = b"IHDR" + b"".join(n.to_bytes(4, "big") for n in sizes) + content[24:29]
    return content[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]


Reader = tuple[str, Callable[[Path], None], Callable[[Path], Any], list[Any]]
READERS: dict[str, Reader] = {
    "nir": ("net.nir", nir_file, from_nir.read, [nir_objects] * 5),
    "onnx": ("net.onnx", onnx_file, read_onnx, [onnx_fields] * 5),
    "plan": ("plan.npz", plan_npz, plan_file.read_plan, [npz_members] * 5),
    "images": ("images.npz", images_npz, read_npz, [npz_members] * 5),
    "student": ("s.safetensors", student_tensors, student_file.load, [safetensors_header] * 5),
    "teacher": ("t.safetensors", teacher_tensors, lambda p: teacher.load(str(p)), [safetensors_header] * 5),
    "pt": ("t.pt", teacher_pt, teacher.read_pickle, []),
    "config": ("c.toml", config_toml, lambda p: distill_config("default", p, {}), [toml_values] * 5),
    "costs": ("c.toml", costs_toml, lambda p: costs.parse_table(p.read_text("utf-8", "replace"), "c"), [toml_values] * 5),
    "manifest": ("manifest.json", manifest_json, read_manifest, [json_text] * 5),
    "png": ("i.png", picture, image_folder.read_image, [png_size]),
}  # fmt: skip


class TooLongError(BaseException):
    """One input took longer than it may."""


def too_long(*_: object) -> None:
    raise TooLongError


def tried(name: str, seed: int, count: int, folder: Path) -> dict[str, Any]:
    """What `count` inputs did to one reader."""
    file, make, read, changes = READERS[name]
    path = folder / file
    make(path)
    read(path)
    valid = path.read_bytes()
    found: collections.Counter[str] = collections.Counter()
    wrong: dict[int, str] = {}
    slowest = 0.0
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        every = PLAIN + changes
        path.write_bytes(every[rng.integers(len(every))](valid, rng))
        (folder / "now").write_text(f"{name} {seed} {i}")
        started = time.monotonic()
        signal.alarm(SECONDS)
        try:
            read(path)
            found["read"] += 1
        except StarsError as error:
            str(error).encode()
            found["refused"] += 1
        except (Exception, TooLongError):
            wrong[i] = traceback.format_exc()[-700:]
        finally:
            signal.alarm(0)
        slowest = max(slowest, time.monotonic() - started)
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(1024 * resource.getrusage(w).ru_maxrss for w in who)
    return {
        **found,
        "slowest_s": round(slowest, 2),
        "peak_bytes": peak,
        "wrong": len(wrong),
        "first": dict(list(wrong.items())[:3]),
    }


def main(names: str, seed: int, count: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    os.chdir(folder)
    signal.signal(signal.SIGALRM, too_long)
    chosen = READERS if names == "all" else names.split(",")
    result = {name: tried(name, seed, count, folder) for name in chosen}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
