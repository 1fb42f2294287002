"""SAMD: saliency-scaled activation map distillation."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.losses.softened import divergence, log_softened, predicted
from stars.networks.outputs import Outputs

SCALE_EPS = 1e-3  # added to the range of a batch's maps, as in the authors' code


def samd(
    student: Outputs,
    teacher: Outputs,
    *,
    form: Literal["released", "paper"] = "released",
    temperature: float = 2.0,
) -> Tensor:
    """KL divergence from the teacher's class activation map to the student's spikes.

    M_S = sum_t sum_c F_S,tc,    M_T = ReLU(sum_c w_yc F_T,c),    y = argmax_k v_k
    P = softmax over the H W places of M / tau

    paper:     L = tau^2 / B sum_b KL(P_T || P_S)
    released:  L = 1 / B sum_b KL(P_T || P_S), where first, over the whole batch,
               M <- (M - min M) / (max M - min M + 1e-3)

    Args:
        student: maps [T, B, C, H, W], F_S: spikes of the last stage.
        teacher: maps [1, B, C', H', W'], F_T; logits [1, B, K], v; head [K, C'], w.
            Detached here.
        form: which equation. "released" is at most 0.12 nats at tau = 2. "paper" does
            not scale the maps, so it grows with the number of steps and channels.
        temperature: tau > 0, dimensionless.

    Returns:
        Scalar in nats; >= 0, and 0 iff the two (scaled) maps agree up to a constant.

    Raises:
        ConfigError: temperature is not positive, a network's outputs hold no maps, or
            the teacher's head does not read their mean.

    Source: arXiv:2511.06902 (AAAI 2026). "released" and y follow the authors' code;
        "paper" is the paper's form with tau = 2, from a third party's notes.
    Differs: maps of unequal sizes are averaged to the smaller size. The teacher is
        frozen and in evaluation mode; in the authors' code it is neither.
    """
    spikes, saliency = spike_map(student), class_map(teacher).detach()
    height = min(spikes.shape[1], saliency.shape[1])
    width = min(spikes.shape[2], saliency.shape[2])
    maps = [F.adaptive_avg_pool2d(m, (height, width)) for m in (spikes, saliency)]
    if form == "released":
        maps = [scaled(m) for m in maps]
    log_s, log_t = (log_softened(m.flatten(1), temperature, "samd") for m in maps)
    factor = temperature**2 if form == "paper" else 1.0
    return factor * divergence(log_t, log_s).mean()


def spike_map(student: Outputs) -> Float[Tensor, "B H W"]:
    """Spikes summed over steps and channels."""
    if student.maps is None:
        raise ConfigError("samd: the student's outputs hold no maps of its last stage")
    return student.maps.float().sum((0, 2))


def class_map(teacher: Outputs) -> Float[Tensor, "B H W"]:
    """The positive evidence of each place for the class that the teacher predicts."""
    maps, head = teacher.maps, teacher.head
    if maps is None or head is None:
        raise ConfigError(
            "samd: the teacher's outputs hold no maps; your own network needs a module"
            " that returns maps [B, C, H, W], whose mean the last Linear layer reads"
        )
    if maps.shape[2] != head.shape[1]:
        raise ConfigError(
            f"samd: the teacher's head reads {head.shape[1]} features, its last stage"
            f" has {maps.shape[2]} channels; expected one feature a channel"
        )
    weights = head.float()[predicted(teacher)]
    return (maps.float().mean(0) * weights[:, :, None, None]).sum(1).relu()


def scaled(maps: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    """The maps scaled to 0..1 by the minimum and maximum of the whole batch."""
    low, high = maps.amin(), maps.amax()  # torch 2.11 cannot differentiate aminmax
    return (maps - low) / (high - low + SCALE_EPS)
