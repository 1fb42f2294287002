"""Failures of a training that raise no error: silent layers, collapsed images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stars.errors import TrainingError
from stars.networks.network import Network
from stars.networks.student import recorded

log = logging.getLogger(__name__)

Policy = Literal["warn", "end", "stop"]

NEAR = 2.0  # gray levels; images with a smaller RMS difference are twins
COLLAPSED = 0.5  # share of a round's images that have a twin
COMPARED = 256  # largest number of images of a round that are compared


@torch.no_grad()
def firing_rates(student: Network, images: torch.Tensor) -> dict[str, float]:
    """Spikes per neuron and step of each layer, in evaluation mode.

    Args:
        student: its training mode is restored.
        images: on the encoding's grid, [B, C, H, W].
    """
    training = student.training
    try:
        with recorded(student.eval()) as seen:
            student(images)
        return {name: float(spikes.mean()) for name, (spikes, _) in seen.items()}
    finally:
        student.train(training)


def twins(images: NDArray[np.uint8]) -> float:
    """The share of the images [N, C, H, W] that have a nearly equal twin."""
    chosen = images[:: max(1, len(images) // COMPARED)]
    flat = chosen.reshape(len(chosen), -1).astype(np.float64)
    squares = (flat**2).sum(1)
    distance = squares[:, None] + squares - 2 * flat @ flat.T
    np.fill_diagonal(distance, np.inf)
    return float((distance.min(1) < NEAR**2 * flat.shape[1]).mean())


def silent(rates: Mapping[str, float], rate: float) -> list[str]:
    """One warning for each layer that never spikes; `rate` is the learning rate."""
    return [
        f"layer {name!r} does not spike once on the newest images; the learning rate"
        f" may be too high: lower training.learning_rate, which is {rate:g}"
        for name, value in rates.items()
        if value == 0
    ]


def collapsed(images: NDArray[np.uint8]) -> list[str]:
    """A warning if at least half of a round's images have a twin."""
    share = twins(images)
    if len(images) < 2 or share < COLLAPSED:
        return []
    return [
        f"{100 * share:.0f} % of its synthetic images have a twin; the generator has"
        " collapsed: lower synthesis.learning_rate, or raise the weights of the priors"
        " batch_norm and relational"
    ]


def tell(troubles: list[str], where: str, policy: Policy) -> None:
    """Log each trouble as a warning.

    Raises:
        TrainingError: there are troubles, and the policy is "stop".
    """
    for trouble in troubles:
        log.warning("%s: %s", where, trouble)
    if troubles and policy == "stop":
        raise TrainingError(f"{where}: {'; '.join(troubles)}")


def check_speaks(rates: Mapping[str, float], policy: Policy) -> None:
    """Refuse a finished student whose last layer is silent: its scores are constant.

    Raises:
        TrainingError: the layer is silent, and the policy is not "warn".
    """
    name = list(rates)[-1]
    if rates[name] == 0 and policy != "warn":
        raise TrainingError(
            f"the finished student is silent: its last layer {name!r} does not spike"
            " once on synthetic images, so every image gets the same scores; lower"
            " training.learning_rate or grid.learning_rate, or train for more steps"
        )
