"""A student that starts with its teacher's weights, rescaled from activations to rates.

A spike train of rate 1 in channel c of a layer stands for the activation lam_c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from stars.config.models import StudentConfig
from stars.errors import ConfigError
from stars.networks.batch_norm import BatchNorm2d
from stars.networks.blueprint import Activation, AvgPool, Blueprint, ConvBN, Head
from stars.networks.network import ConvBNLayer, HeadLayer, Network
from stars.teacher.spec import TeacherSpec
from stars.teacher.teacher import Teacher

LEAST_SCALE = 0.05  # of a channel, as a share of its layer's largest
# The current of an activation a is OFFSET + GAIN a / lam, in volts. With k = 1/2 and
# T = 4 a neuron fires at rates 1/4, 1/2 and 1 for currents above 16/15, 4/3 and 2. So
# GAIN puts these steps at 8, 20 and 50 % of lam: most activations are far below their
# high quantile. Both were chosen by accuracies without training, see docs/method.md.
OFFSET = 0.9
GAIN = 2.2

Scales = Mapping[str, Tensor]


def architecture(
    student: StudentConfig, spec: TeacherSpec
) -> tuple[str, Mapping[str, Any]]:
    """The name and the options of the student's architecture.

    Raises:
        ConfigError: it is "teacher", but the teacher is the user's own module.
    """
    if student.architecture != "teacher":
        return student.architecture, student.options
    if not spec.architecture:
        raise ConfigError(
            '[student] architecture is "teacher", and the teacher is a module of your'
            " own, which has no spiking form; name one of the architectures of stars"
        )
    return spec.architecture, {**spec.options, **student.options}


def check_same_architecture(student: Blueprint, teacher: nn.Module) -> Network:
    """The teacher's network, whose weights fit a student of this blueprint.

    Raises:
        ConfigError: the teacher is the user's own module, or its layers differ from
            the student's.
    """
    where = '[student] start is "teacher"'
    if not isinstance(teacher, Network):
        raise ConfigError(
            f"{where}, and the teacher is a {type(teacher).__name__}; only a teacher of"
            ' an architecture of stars gives a student its weights: set start = "fresh"'
        )
    theirs = teacher.blueprint
    if student == theirs:
        return teacher
    pairs = zip(student.layers, theirs.layers, strict=False)
    differing = [f"{a} instead of {b}" for a, b in pairs if a != b]
    count = f"{len(student.layers)} layers instead of {len(theirs.layers)}"
    raise ConfigError(
        f"{where}, and the student has {[*differing, count][0]}; both must have one"
        ' architecture: give --student teacher, or set start = "fresh"'
    )


@torch.no_grad()
def measured_scales(teacher: Teacher, images: Tensor, quantile: float) -> Scales:
    """The scale lam of each activation layer, [C], from normalized images [N, C, H, W].

    It is the quantile of a channel's activation. An identity shortcut hands on a spike
    as a current of 1, where a convolution's current has the gain GAIN. So the scale
    grows by GAIN from one layer that a shortcut joins to the next. The first layer's
    scale is the least with which no quantile exceeds its layer's scale.
    """
    shown = teacher.answer(images, bf16=False, layers=True).activations
    scales: dict[str, Tensor] = {}
    for name, activation in (shown or {}).items():
        values = activation[0].float().transpose(0, 1).flatten(1)
        rank = max(1, round(quantile * values.shape[1]))
        scale = values.kthvalue(rank, 1).values
        scales[name] = scale.clamp(min=LEAST_SCALE * float(scale.max()) or 1.0)
    network = cast("Network", teacher.network)
    for names in joined(network.blueprint):
        growth = {name: GAIN**index for index, name in enumerate(names)}
        first = torch.stack([scales[n] / g for n, g in growth.items()]).amax(0)
        scales |= {name: first * g for name, g in growth.items()}
    return scales


def joined(blueprint: Blueprint) -> list[list[str]]:
    """Groups of activation layers that identity shortcuts join."""
    groups: dict[str, list[str]] = {}
    for spec in blueprint.layers:
        if isinstance(spec, Activation):
            before = [source for source in spec.sources if source in groups]
            members = groups[before[0]] if before else []
            members.append(spec.name)
            groups[spec.name] = members
    return [list(g) for g in {id(g): g for g in groups.values()}.values() if len(g) > 1]


@torch.no_grad()
def start_from(student: Network, teacher: Network, scales: Scales) -> None:
    """Give the student the weights of a teacher of the same blueprint.

    With lam of a layer's source and lam' of the activation behind it, a convolution's
    weights are W lam, BatchNorm's are GAIN gamma / lam' and GAIN beta / lam' + OFFSET /
    n, n being the number of convolutions whose currents meet there. So the current is
    OFFSET + GAIN a / lam' for the activation a. The head's weights are W lam.
    """
    plan = student.blueprint
    handed_on: dict[str, Tensor] = {}
    for spec in plan.layers:
        if isinstance(spec, Activation):
            handed_on[spec.name] = scales[spec.name]
        elif isinstance(spec, AvgPool):
            handed_on[spec.name] = handed_on[spec.source]
    student.load_state_dict(teacher.state_dict())
    for spec in plan.layers:
        if isinstance(spec, ConvBN) and spec.source in handed_on:
            convolution = cast("ConvBNLayer", student.layers[spec.name]).conv
            convolution.weight *= handed_on[spec.source][:, None, None]
        elif isinstance(spec, Head):
            head = cast("HeadLayer", student.layers[spec.name])
            head.weight *= handed_on[spec.source]
        elif isinstance(spec, Activation):
            norms = [
                cast("ConvBNLayer", student.layers[s]).bn
                for s in spec.sources
                if s not in handed_on
            ]
            for bn in norms:
                per_rate = GAIN / scales[spec.name]
                bn.weight.mul_(per_rate)
                bn.bias.mul_(per_rate).add_(OFFSET / len(norms))


@torch.no_grad()
def settle(student: Network, batches: Sequence[Tensor]) -> None:
    """Take the BatchNorm statistics anew, as means over the batches.

    Spikes that a LIF layer hands on are not quite the teacher's activations, so what
    reaches the next layer has other means and variances than in the teacher.

    Args:
        student: in training mode afterwards.
        batches: of its inputs, each [B, C, H, W].
    """
    norms = [m for m in student.modules() if isinstance(m, BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    student.train()
    for number, images in enumerate(batches, start=1):
        for norm in norms:
            norm.momentum = 1 / number
        student(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
