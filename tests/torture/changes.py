"""Changes that make a malformed file of a valid one."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx

ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 1e308, 1e-320,
    float("nan"), float("inf"), "", "0", "é\0", "x" * 5000, [], {}, [[]], [1, 2, 3], [-1],
    [2**40, 2**40], {"a": 1}, [None], "../../etc/passwd", [[[[[[[[[[1]]]]]]]]]],
]  # fmt: skip
ODD_TOML = [
    "nan", "-1", "[]", "{}", "9" * 400, "9" * 5000, "''", "1e999", "[[[", "1979-05-27",
    "{a.b=1}", "[" * 3000 + "]" * 3000, "{" + "a." * 3000 + "b=1}", "0x" + "f" * 99,
]  # fmt: skip
Random = np.random.Generator
Change = Callable[[bytes, Random], bytes]


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


PLAIN: tuple[Change, ...] = (flipped, near_start, truncated, spliced, extreme)


def changed(content: bytes, knowing: tuple[Change, ...], rng: Random) -> bytes:
    """`content` after one change: every second of those that know the format."""
    chosen = knowing if knowing and rng.random() < 0.5 else PLAIN
    return chosen[rng.integers(len(chosen))](content, rng)


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
    """Something odd in the object, or brackets deeper than Python's stack."""
    text = json.dumps(changed_json(json.loads(content), rng))
    return (deeper(text) if rng.random() < 0.02 else text).encode()


def deeper(text: str) -> str:
    return "[" * 100_000 + text + "]" * 100_000


def json_lines(content: bytes, rng: Random) -> bytes:
    """One line is changed as a JSON text."""
    lines = content.splitlines()
    index = int(rng.integers(len(lines)))
    lines[index] = json_text(lines[index], rng)
    return b"\n".join(lines)


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


def toml_values(content: bytes, rng: Random) -> bytes:
    """Another value after some `=`, or a line too many."""
    lines = content.decode().splitlines()
    index = int(rng.integers(len(lines)))
    key = lines[index].partition("=")[0]
    lines[index] = f"{key}= {ODD_TOML[rng.integers(len(ODD_TOML))]}"
    return "\n".join(lines).encode()


def png_size(content: bytes, rng: Random) -> bytes:
    """Another size, with the right checksum."""
    sizes = [int(rng.choice([0, 1, 9, 2**12, 2**16, 2**31 - 1])) for _ in range(2)]
    chunk = b"IHDR" + b"".join(n.to_bytes(4, "big") for n in sizes) + content[24:29]
    return content[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[33:]
