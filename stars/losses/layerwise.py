"""Layer-wise distillation: firing rates follow the teacher's activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.networks.outputs import Outputs

SMALLEST_VARIANCE = 1e-3  # a layer's targets vary at least so much, in squared rates
SMALLEST_SCALE = 1e-3  # a channel's scale, as a share of the layer's largest


def layerwise(
    student: Outputs,
    teacher: Outputs,
    *,
    layers: Sequence[str] = (),
    quantile: float = 0.995,
) -> Tensor:
    """Squared distance of firing rates from scaled activations, layer by layer.

    L = sum_l mean_bchw (r_l - u_l)^2 / var(u_l),    u_l = clip(a_l / lam_l, 0, 1)

    r_l is a layer's mean spikes over the steps, a_l the teacher's activation after its
    ReLU, var(u_l) the variance over the batch, all channels and places.

    Args:
        student: activations [T, B, C, H, W] of each layer: spikes.
        teacher: activations [1, B, C, H', W'] of the layers of the same names; scales
            [C], lam. Detached here.
        layers: names of the layers to compare; none for all.
        quantile: where the teacher gives no scales, lam_c is this quantile of the
            activations of channel c in the batch. It gives scales if the student
            started from it.

    Returns:
        Scalar, dimensionless, >= 0; 0 iff all rates equal their targets.

    Raises:
        ConfigError: quantile is not in 0..1, a network does not show its layers, the
            two have no such layer, or the layer has other channels in each.

    Source: Xu et al. 2023 (LaSNN), arXiv:2304.09101, abstract: layer-wise distillation
        of an ANN's features into a converted SNN.
    Differs: the paper's equations were not at hand. Targets, scales and weights are our
        reading; maps of unequal sizes are averaged down to the smaller.
    """
    if not 0 < quantile <= 1:
        raise ConfigError(f"layerwise: quantile is {quantile}; it must be in 0..1")
    spikes, theirs = shown(student, "student"), shown(teacher, "teacher")
    total = student.logits.new_zeros(())
    for name in chosen(layers, spikes, theirs):
        activation = theirs[name].detach().float().mean(0)
        check_channels(name, spikes[name].shape[2], activation.shape[1])
        scale = None if teacher.scales is None else teacher.scales.get(name)
        if scale is None:
            scale = channel_quantile(activation, quantile)
        target = (activation / positive(scale)[:, None, None]).clamp(0, 1)
        rate, target = alike(spikes[name].float().mean(0), target)
        variance = target.var(correction=0).clamp(min=SMALLEST_VARIANCE)
        total = total + (rate - target).square().mean() / variance
    return total


def shown(outputs: Outputs, network: str) -> dict[str, Tensor]:
    """What the layers of the `network` give, by name."""
    if outputs.activations is None:
        raise ConfigError(
            f"layerwise: the {network} does not show its layers; only the"
            " architectures of `stars` do: use one, or leave out this loss"
        )
    return dict(outputs.activations)


def chosen(
    layers: Sequence[str], student: dict[str, Tensor], teacher: dict[str, Tensor]
) -> list[str]:
    """The layers to compare: those named, or all of the student's."""
    names = list(layers) or list(student)
    missing = [n for n in names if n not in student or n not in teacher]
    if missing:
        raise ConfigError(
            f"layerwise: {missing} are not layers of both networks; the student has"
            f" {list(student)}, the teacher {list(teacher)}; name layers of both, or"
            " give the student the teacher's architecture"
        )
    return names


def check_channels(name: str, student: int, teacher: int) -> None:
    """Refuse layers that cannot be compared channel by channel."""
    if student != teacher:
        raise ConfigError(
            f"layerwise: layer {name!r} has {student} channels in the student and"
            f" {teacher} in the teacher; they must be equal: give the student the"
            " teacher's widths"
        )


def channel_quantile(
    activation: Float[Tensor, "B C H W"], quantile: float
) -> Float[Tensor, " C"]:
    """The quantile of each channel over the batch and all places."""
    values = activation.transpose(0, 1).flatten(1)
    return values.kthvalue(max(1, round(quantile * values.shape[1])), 1).values


def positive(scale: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
    """The scales, those of channels that hardly ever respond raised above 0."""
    least = (SMALLEST_SCALE * scale.max()).clamp(min=torch.finfo(scale.dtype).tiny)
    return scale.clamp(min=least)


def alike(rate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps in the smaller of their two sizes."""
    if rate.shape == target.shape:
        return rate, target
    size = min(rate.shape[2], target.shape[2]), min(rate.shape[3], target.shape[3])
    return F.adaptive_avg_pool2d(rate, size), F.adaptive_avg_pool2d(target, size)
