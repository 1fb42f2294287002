"""Loads teachers from files and functions, and saves self-describing files.

A source is the bundled teacher, a .safetensors file, a checkpoint (.pt, .pth, .ckpt,
.bin, .pth.tar) for a named architecture, or the user's own `module:function`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import nn

from stars.config.sources import BUNDLED, FILES, METADATA_KEY, is_file
from stars.config.user_code import guarded, imported
from stars.data.images import read_asset
from stars.errors import ConfigError, FormatError
from stars.files.npz import check_archive
from stars.networks.architectures import blueprint
from stars.networks.network import ann
from stars.networks.weights_file import (
    filled,
    names_of,
    read_tensors,
    write_tensors,
)
from stars.teacher.checkpoint import weights_in
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

BUNDLED_TEACHER = "fashion_mnist_teacher.safetensors"


def load(source: str, spec: TeacherSpec | None = None) -> Teacher:
    """The teacher that `source` names.

    Args:
        source: "fashion-mnist" (bundled); a .safetensors file or a checkpoint; or
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
        f"teacher {source!r}: allowed are '{BUNDLED}', a {', '.join(FILES)} file, or"
        " module:function"
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


def read_pickle(path: Path) -> Any:
    """The content of a checkpoint; only weights are unpickled.

    Raises:
        FormatError: it is damaged, or holds objects of other types.
    """
    try:
        if is_zipfile(path):
            check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(
            f"teacher '{path}': not a state dict that can be read safely ({reason});"
            " save model.state_dict() alone"
        ) from error
    return loaded


def from_state_dict(content: Any, where: str, spec: TeacherSpec | None) -> Teacher:
    """A teacher of a named architecture with the weights in a checkpoint.

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
        tensors = weights_in(content, names_of(lambda: ann(plan)))
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
    return own_teacher(network, spec, source)


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
    return own_teacher(copy.deepcopy(network), spec, where)


def own_teacher(network: nn.Module, spec: TeacherSpec, where: str) -> Teacher:
    """A teacher from a user's own module, with the maps that its head reads.

    Raises:
        ConfigError: the module cannot teach.
    """
    network = getattr(network, "_orig_mod", network)  # of a compiled module
    try:
        teacher = Teacher(network, spec)
        teacher.find_maps()
    except ConfigError as error:
        raise ConfigError(f"teacher {where!r}: {error}") from error
    return teacher


def save(teacher: Teacher, path: Path) -> None:
    """Write weights and description as one .safetensors file, atomically."""
    write_tensors(teacher.network, {METADATA_KEY: teacher.spec.to_json()}, path)
