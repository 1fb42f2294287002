"""Loads teachers from files and functions, and saves self-describing files.

A source is the bundled teacher, a .safetensors file, a .pt or .pth state dict for a
named architecture, or the user's own `module:function`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from stars.config.sources import BUNDLED, METADATA_KEY, is_file
from stars.config.user_code import guarded, imported, raised
from stars.data.images import read_asset
from stars.errors import ConfigError, DataError, FormatError
from stars.files.npz import check_archive
from stars.networks.architectures import blueprint
from stars.networks.network import ann
from stars.networks.weights_file import filled, read_tensors, write_tensors
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

BUNDLED_TEACHER = "fashion_mnist_teacher.safetensors"


def load(source: str, spec: TeacherSpec | None = None) -> Teacher:
    """The teacher that `source` names.

    Args:
        source: "fashion-mnist" (bundled); a .safetensors or .pt / .pth state dict; or
            "module:function", which is imported and called, so it runs code.
        spec: needed unless the file contains its description.

    Raises:
        ConfigError: the spec is missing, or it describes no teacher.
        FormatError: the file is missing or damaged, or does not fit the architecture.
    """
    if source == BUNDLED:
        with read_asset(BUNDLED_TEACHER) as file:
            return from_safetensors(file.read(), BUNDLED_TEACHER, spec)
    path = Path(source).expanduser()
    if is_file(source):
        if not path.is_file():
            raise FormatError(f"teacher '{path}': no such file")
        if path.suffix == ".safetensors":
            return from_safetensors(path.read_bytes(), str(path), spec)
        return from_state_dict(read_pickle(path), str(path), spec)
    if ":" in source:
        return from_function(source, spec)
    raise ConfigError(
        f"teacher {source!r}: allowed are '{BUNDLED}', a .safetensors, .pt or .pth"
        " file, or module:function"
    )


def from_safetensors(content: bytes, where: str, spec: TeacherSpec | None) -> Teacher:
    """A teacher from the bytes of a .safetensors file."""
    try:
        tensors, texts = read_tensors(content)
    except FormatError as error:
        raise FormatError(f"teacher '{where}': {error}") from error
    described = texts.get(METADATA_KEY)
    return from_state_dict(
        tensors, where, TeacherSpec.from_json(described) if described else spec
    )


def read_pickle(path: Path) -> Mapping[str, Tensor]:
    """The state dict of a .pt file; only weights are unpickled.

    Raises:
        FormatError: no state dict, or one with values that are not tensors.
    """
    try:
        if is_zipfile(path):
            check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(
            f"teacher '{path}': not a state dict that can be read safely ({reason})"
        ) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(v, Tensor) for v in loaded.values()
    ):
        raise FormatError(f"teacher '{path}': holds no state dict of tensors")
    return loaded


def from_state_dict(
    tensors: Mapping[str, Tensor], where: str, spec: TeacherSpec | None
) -> Teacher:
    """A teacher of a named architecture with these weights.

    Raises:
        ConfigError: there is no spec.
        FormatError: names or shapes differ from the architecture's.
    """
    if spec is None or not spec.architecture:
        raise ConfigError(
            f"teacher '{where}' contains no description: give architecture, options,"
            " input_shape, classes, mean and deviation in [teacher] of a config file"
        )
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    try:
        network = filled(lambda: ann(plan), tensors)
    except FormatError as error:
        raise FormatError(
            f"teacher '{where}' is not a {spec.architecture} with options"
            f" {dict(spec.options)}: {error}"
        ) from error
    return Teacher(network, spec)


def from_function(source: str, spec: TeacherSpec | None) -> Teacher:
    """A teacher from the user's own `module:function`, which returns an nn.Module.

    Raises:
        ConfigError: it cannot be imported, returns something else, or lacks a spec.
    """
    network = guarded(imported(source, "teacher"), f"teacher {source!r}")()
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"teacher {source!r} returned {type(network).__name__}, expected nn.Module"
        )
    if spec is None:
        raise ConfigError(
            f"teacher {source!r}: give input_shape, classes, mean and deviation in"
            " [teacher] of a config file"
        )
    teacher = Teacher(network, spec)
    check_pass(teacher, source)
    teacher.find_maps()
    return teacher


def from_module(network: nn.Module) -> Teacher:
    """A teacher from a module that describes itself by attributes.

    Args:
        network: with the attributes input_shape, classes, mean and deviation.

    Raises:
        ConfigError: an attribute is missing, or the module cannot be a teacher.
    """
    where = f"{type(network).__module__}:{type(network).__qualname__}"
    needed = ("input_shape", "classes", "mean", "deviation")
    if missing := [name for name in needed if not hasattr(network, name)]:
        raise ConfigError(
            f"teacher {where!r} lacks the attributes {', '.join(missing)}; set"
            " input_shape (C, H, W), classes, and mean and deviation with one value for"
            " each channel"
        )
    shape = tuple(int(n) for n in network.input_shape)  # type: ignore[union-attr]
    if len(shape) != 3:
        raise ConfigError(f"teacher {where!r}: input_shape is {shape}, not (C, H, W)")
    spec = TeacherSpec(
        architecture="",
        options={},
        input_shape=shape,
        classes=int(network.classes),  # type: ignore[arg-type]
        mean=tuple(float(m) for m in network.mean),  # type: ignore[union-attr]
        deviation=tuple(float(d) for d in network.deviation),  # type: ignore[union-attr]
    )
    teacher = Teacher(copy.deepcopy(network), spec)
    check_pass(teacher, where)
    teacher.find_maps()
    return teacher


def check_pass(teacher: Teacher, where: str) -> None:
    """Run one blank image and check the shape of the scores.

    Raises:
        ConfigError: the network does not accept the image, returns scores of another
            shape, or runs none of its BatchNorm2d layers.
    """
    spec = teacher.spec
    try:
        with torch.no_grad(), teacher.tapped() as taps:
            logits = teacher(torch.zeros(1, *spec.input_shape)).logits
    except (RuntimeError, ValueError, DataError) as error:
        raise ConfigError(
            f"teacher {where!r} does not accept an image of {spec.input_shape}: {error}"
        ) from error
    except Exception as error:
        raise raised(error, f"teacher {where!r}") from error
    if logits.shape != (1, 1, spec.classes):
        raise ConfigError(
            f"teacher {where!r} gives scores of shape {tuple(logits.shape[1:])},"
            f" expected (1, {spec.classes})"
        )
    if not any(tap.layer.running_mean is not None for tap in taps):
        raise ConfigError(f"teacher {where!r} runs none of its BatchNorm2d layers")


def save(teacher: Teacher, path: Path) -> None:
    """Write weights and description as one .safetensors file, atomically."""
    write_tensors(teacher.network, {METADATA_KEY: teacher.spec.to_json()}, path)
