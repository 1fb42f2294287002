"""Data-free conversion: the teacher's weights in spiking neurons, without training.

It is the reference that distillation must beat. Scales come only from BatchNorm.
"""

from __future__ import annotations

import time
from typing import Any, cast

import torch

from stars.config.models import DistillConfig
from stars.data import images as datasets
from stars.distillation.evaluation import accuracy, check_images, teacher_accuracy
from stars.errors import ConfigError, StarsError
from stars.graph.encoding import DirectEncoding
from stars.networks.blueprint import Activation, AvgPool, Blueprint
from stars.networks.lif import DT, LIFConstants
from stars.networks.network import ConvBNLayer, HeadLayer, Network
from stars.networks.student import build
from stars.teacher.loading import load
from stars.teacher.spec import spec_of
from stars.teacher.teacher import Teacher

DEVIATIONS = 2.0  # above the mean: the activation at which a neuron always fires


def converted(teacher: Teacher, steps: int, constants: LIFConstants) -> Network:
    """The teacher's blueprint with LIF neurons and the teacher's rescaled weights.

    A spike of population l stands for the activation A_l. A neuron with k = dt/tau
    fires at every step if its current is 1/k thresholds. So currents are
    x = a / (k A_l), and weights W A_in / (k A_l). With gamma and beta of all BN layers
    that feed it, A_l = mean_c max(sum beta + 2 sqrt(sum gamma^2), 0). An identity
    shortcut has no weight to rescale; with one, A_l = A_in / k.

    Args:
        teacher: one of the architectures of `stars`.
        steps: T.
        constants: of the neurons.

    Raises:
        ConfigError: it is another network.

    Source: weight normalization of Rueckauer et al. 2017, Front. Neurosci. 11:682,
        section 2.2.2.
    Differs: without data, the largest activations are those of a Gaussian with BN's
        mean and deviation; there is one scale per population.
    """
    network = teacher.network
    if not isinstance(network, Network):
        raise ConfigError(
            "conversion: the teacher is not one of the architectures of stars"
        )
    plan = network.blueprint
    student = build(plan, steps, constants)
    student.load_state_dict(network.state_dict())
    amplitudes = {"input": 1.0}
    k = DT / constants.tau
    for spec in plan.layers:
        if isinstance(spec, Activation):
            amplitudes[spec.name] = amplitude(student, spec, amplitudes, k)
            for name in spec.sources:
                rescale(student, name, amplitudes, 1 / (k * amplitudes[spec.name]))
        elif isinstance(spec, AvgPool):
            amplitudes[spec.name] = amplitudes[spec.source]
    head = plan.layers[-1]
    layer = cast("HeadLayer", student.layers[head.name])
    with torch.no_grad():
        layer.weight *= amplitudes[source_of(plan, head.name)]
    return student.eval()


def source_of(plan: Blueprint, name: str) -> str:
    """The name of the layer that a layer with one source reads."""
    (spec,) = [s for s in plan.layers if s.name == name]
    return str(getattr(spec, "source", ""))


def amplitude(
    student: Network, spec: Activation, amplitudes: dict[str, float], k: float
) -> float:
    """The activation for which one spike of a population stands."""
    identities = [name for name in spec.sources if name in amplitudes]
    if identities:
        return amplitudes[identities[0]] / k
    norms = [cast("ConvBNLayer", student.layers[name]).bn for name in spec.sources]
    mean = torch.stack([bn.bias for bn in norms]).sum(0)
    deviation = torch.stack([bn.weight.square() for bn in norms]).sum(0).sqrt()
    largest = float((mean + DEVIATIONS * deviation).relu().mean().detach())
    return largest or 1.0  # for a population that never fires


@torch.no_grad()
def rescale(
    student: Network, name: str, amplitudes: dict[str, float], factor: float
) -> None:
    """Make a ConvBN read spikes for activations, and scale its output by `factor`."""
    layer = student.layers[name]
    if not isinstance(layer, ConvBNLayer):
        return  # an identity shortcut
    layer.conv.weight *= amplitudes[source_of(student.blueprint, name)]
    layer.bn.weight.mul_(factor)
    layer.bn.bias.mul_(factor)


def conversion_row(config: DistillConfig) -> dict[str, Any]:
    """The results of the converted teacher as a row of a sweep, or its error.

    Args:
        config: only teacher, steps, surrogate, input grid and test data are read.
    """
    try:
        started = time.monotonic()
        teacher = load(config.teacher.source, spec_of(config.teacher))
        test = datasets.load(config.test_data)
        check_images(test, teacher, "test")
        constants = LIFConstants(surrogate=config.student.surrogate)
        student = converted(teacher, config.student.steps, constants)
        spec = teacher.spec
        encoding = DirectEncoding(
            spec.mean, spec.deviation, config.student.input_exponent
        )
        return {
            "teacher_accuracy": teacher_accuracy(teacher, test),
            "student_accuracy": accuracy(student, encoding, test),
            "grid_accuracy": None,
            "seconds": round(time.monotonic() - started, 1),
            "rounds_seconds": 0.0,
            "student_steps": 0,
            "error": None,
        }
    except StarsError as error:
        return {"error": str(error)}
