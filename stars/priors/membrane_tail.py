"""TAR of the student: membranes cross the threshold as often as activations do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stars.errors import ConfigError
from stars.priors.exceedance import channels
from stars.priors.state import SynthesisState


def membrane_tail(
    state: SynthesisState, *, softness: float = 0.25, membrane_softness: float = 0.25
) -> Tensor:
    """Squared gap between the soft exceedances of student and teacher, per stage.

    p_S = mean sigmoid((v' - threshold) / tau_v)  over steps, batch, neurons, layers
    p_T = mean sigmoid((gamma z + beta) / (tau |gamma|))  over batch, pixels, layers
    L = mean_stages (p_S - p_T)^2

    A stage is the layers of one image size. Stages are matched from the last one, as
    far as both networks have them. p_T is the target and gets no gradient.

    Args:
        state: only its taps and the student's membranes are read.
        softness: tau > 0, in standard deviations of BN's input.
        membrane_softness: tau_v > 0, in units of the threshold.

    Returns:
        Scalar in 0..1; 0 iff p_S = p_T in every stage.

    Raises:
        ConfigError: a softness is not positive, or the student's membranes were not
            recorded.

    Source: STARS, arXiv:2605.27409, abstract (responses depend on threshold crossings).
    Differs: the paper's equation is not public; this is our reading.
    """
    if not (softness > 0 and membrane_softness > 0):
        raise ConfigError(
            f"membrane_tail: softness {softness} and membrane_softness"
            f" {membrane_softness} must be > 0"
        )
    membranes = state.student.membranes
    if membranes is None:
        raise ConfigError("membrane_tail: the student's membranes were not recorded")
    teacher = by_stage(
        [
            (c.inputs.shape[-1], c.beyond_zero(softness).mean().detach())
            for c in channels(state.taps)
        ]
    )
    student = by_stage(
        [
            (v.shape[-1], torch.sigmoid((v - 1) / membrane_softness).mean())
            for v in membranes
        ]
    )
    count = min(len(teacher), len(student))
    return (student[-count:] - teacher[-count:]).square().mean()


def by_stage(shares: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Means over consecutive layers of one image size: (size, share) -> [stages]."""
    stages: list[list[Tensor]] = []
    before = None
    for size, share in shares:
        if size != before:
            stages.append([])
        stages[-1].append(share)
        before = size
    return torch.stack([torch.stack(stage).mean() for stage in stages])
