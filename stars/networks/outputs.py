"""Outputs: what a network's forward pass returns, and all that a loss may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from stars.runtime.distributed import (
    gathered,
)


@dataclass(frozen=True)
class Outputs:
    """Class scores and features of one batch. An ANN has T = 1.

    Args:
        logits: [T, B, K], the readout's input at each step.
        features: [T, B, F], what the head reads: pooled ReLU features or firing rates.
        maps: [T, B, C, H, W], the last stage before it is pooled: ReLU features or
            spikes. The tensor of the pass itself, not a copy; None where a network of
            the user's own does not show it.
        head: [K, F], the weights with which a teacher's head reads its features; None
            for a student.
        labels: [B, K], the share of each class in a teacher's image by the data set,
            where there is one; None where images were invented.
        membranes: of every spiking layer, [T, B, C, H, W] each: before the reset, in
            units of the threshold. None unless they were asked for.
        activations: what each activation layer gives, by its name, [T, B, C, H, W]:
            ReLU features or spikes. The tensors of the pass itself. None unless they
            were asked for.
        scales: the teacher's activation that a firing rate of 1 stands for, by the
            layer's name, [C]; None unless the student started from the teacher.
    """

    logits: Float[Tensor, "T B K"]
    features: Float[Tensor, "T B F"]
    maps: Float[Tensor, "T B C H W"] | None = None
    head: Float[Tensor, "K F"] | None = None
    labels: Float[Tensor, "B K"] | None = None
    membranes: tuple[Float[Tensor, "T B C H W"], ...] | None = None
    activations: Mapping[str, Float[Tensor, "T B C H W"]] | None = None
    scales: Mapping[str, Float[Tensor, " C"]] | None = None

    @property
    def mean_logits(self) -> Float[Tensor, "B K"]:
        """Mean over the steps: the readout's last membrane divided by T."""
        return self.logits.mean(0)

    @property
    def mean_features(self) -> Float[Tensor, "B F"]:
        """Mean over the steps."""
        return self.features.mean(0)


def gathered_outputs(outputs: Outputs) -> Outputs:
    """The outputs for all processes' rows."""
    maps, labels, membranes = outputs.maps, outputs.labels, outputs.membranes
    activations = outputs.activations
    return replace(
        outputs,
        logits=gathered(outputs.logits, 1),
        features=gathered(outputs.features, 1),
        maps=None if maps is None else gathered(maps, 1),
        labels=None if labels is None else gathered(labels),
        membranes=(
            None if membranes is None else tuple(gathered(v, 1) for v in membranes)
        ),
        activations=(
            None
            if activations is None
            else {name: gathered(values, 1) for name, values in activations.items()}
        ),
    )
