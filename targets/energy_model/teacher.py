"""Count the products of a teacher without a zero factor, on real images.

Importing this module imports torch. If the teacher is not available, the result states
the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stars import teacher as teachers
from stars.config.models import TeacherConfig, validated
from stars.config.sources import is_file
from stars.errors import StarsError
from stars.run_directory import Run
from stars.teacher.teacher import Teacher
from targets.energy_model.alternatives import NOT_AT_HAND, TeacherLayers
from targets.energy_model.synapses import AnnLayer
from targets.inputs import FirstInputs, ImageInputs, Inputs

CHUNK = 100


@dataclass
class Seen:
    """The products of one layer so far."""

    macs: int = 0
    lit: int = 0
    inputs: int = 0
    outputs: int = 0
    images: int = 0


@dataclass
class ProductCounter:
    """Counts the products of a network's layers while images pass."""

    network: nn.Module
    seen: dict[str, Seen] = field(default_factory=dict)

    def layers(self) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
        """The layers with weights, by name."""
        return [
            (name, module)
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]

    def keep(self, name: str, module: nn.Conv2d | nn.Linear, x: Tensor) -> None:
        """Add the products of one forward pass of a layer."""
        one = self.seen.setdefault(name, Seen())
        every = products(module, torch.ones_like(x[:1]), torch.ones_like(module.weight))
        one.macs = int(every.sum())
        one.lit += int(products(module, x, module.weight).sum())
        one.inputs, one.outputs = x[0].numel(), every.numel()
        one.images += len(x)

    def result(self) -> tuple[AnnLayer, ...]:
        """The counts of each layer, in execution order."""
        modules = dict(self.layers())
        return tuple(layer(name, modules[name], one) for name, one in self.seen.items())


def products(module: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor) -> Tensor:
    """The number of products without a zero factor, for each output, float64."""
    lit, there = (x != 0).double(), (weight != 0).double()
    if isinstance(module, nn.Linear):
        return functional.linear(lit, there)
    padding: Any = module.padding
    return functional.conv2d(
        lit,
        there,
        stride=module.stride,
        padding=padding,
        dilation=module.dilation,
        groups=module.groups,
    )


def layer(name: str, module: nn.Conv2d | nn.Linear, one: Seen) -> AnnLayer:
    """The record of one layer."""
    conv = isinstance(module, nn.Conv2d)
    kernel = math.prod(module.kernel_size) if isinstance(module, nn.Conv2d) else 0
    return AnnLayer(
        name=name,
        macs=one.macs,
        macs_lit=one.lit / one.images,
        inputs=one.inputs,
        outputs=one.outputs,
        weights=module.weight.numel(),
        biases=0 if module.bias is None else module.bias.numel(),
        kernels=module.weight.shape[0] * kernel if conv else 0,
        image=False,
    )


@torch.no_grad()
def measure(
    network: Teacher,
    chunks: Iterable[NDArray[np.uint8]],
    decisions: list[int] | None = None,
) -> tuple[AnnLayer, ...]:
    """The layers of a teacher, with the mean number of products without a zero factor.

    Args:
        network: the teacher, in evaluation mode, on the CPU.
        chunks: 8-bit images [N, C, H, W].
        decisions: its class of each image is appended here.
    """
    counter = ProductCounter(network.network)
    hooks = [
        module.register_forward_pre_hook(
            lambda module, x, name=name: counter.keep(name, module, x[0])
        )
        for name, module in counter.layers()
    ]
    try:
        for images in chunks:
            outputs = network(network.normalize(torch.from_numpy(images)))
            if decisions is not None:
                decisions += outputs.logits.sum(0).argmax(1).tolist()
    finally:
        for hook in hooks:
            hook.remove()
    return counter.result()


def teacher_of(run: Run | None, inputs: Inputs) -> TeacherLayers:
    """The layers of a run's teacher on these inputs, or why they are unknown.

    A teacher that is a user's function is not called, because opening a run directory
    must not run code.
    """
    images = images_of(inputs)
    if run is None or images is None:
        return NOT_AT_HAND
    try:
        config = validated(
            TeacherConfig, run.read_config().get("teacher", {}), "[teacher]"
        )
        if is_code(config.source):
            return TeacherLayers(
                reason=f"the teacher '{config.source}' is code, which is not run here"
            )
        network = teachers.load(config.source, teachers.spec_of(config))
    except StarsError as error:
        return TeacherLayers(reason=f"the teacher is not available: {error}")
    if images.shape[1:] != network.spec.input_shape:
        return TeacherLayers(
            reason=f"the teacher takes images of {network.spec.input_shape}, these have"
            f" {images.shape[1:]}"
        )
    parts = (images[i : i + CHUNK] for i in range(0, len(images), CHUNK))
    decisions: list[int] = []
    layers = measure(network, parts, decisions)
    return TeacherLayers(layers=layers, decisions=decisions)


def is_code(source: str) -> bool:
    """Whether a teacher's source names a function."""
    return ":" in source and not is_file(source)


def images_of(inputs: Inputs) -> NDArray[np.uint8] | None:
    """The 8-bit images behind these inputs; None without images."""
    if isinstance(inputs, FirstInputs):
        whole = images_of(inputs.inputs)
        return None if whole is None else whole[: inputs.count]
    return inputs.images if isinstance(inputs, ImageInputs) else None
