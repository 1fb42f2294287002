"""Outputs: the result of a network's forward pass, which losses and priors read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from stars.runtime.distributed import gathered


@dataclass(frozen=True)
class Outputs:
    """Class scores and features of one batch. An ANN has T = 1.

    Args:
        logits: [T, B, K], the readout's input at each step.
        features: [T, B, F], the head's input: pooled ReLU features or firing rates.
        maps: [T, B, C, H, W], the output of the last stage before pooling: ReLU
            features or spikes. Not a copy. None if a user's own network has no such
            output.
        head: [K, F], the weights of a teacher's head; None for a student.
        labels: [B, K], the share of each class in an image by the data set; only in a
            teacher's outputs, None for synthetic images.
        membranes: of every spiking layer, [T, B, C, H, W] each, before the reset, in
            units of the threshold. None unless requested.
        activations: the output of each activation layer by name, [T, B, C, H, W]: ReLU
            features or spikes. Not copies. None unless requested.
        scales: by layer name, the teacher's activation that a firing rate of 1 stands
            for, [C]; None unless the student started from the teacher.
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
        """The mean over the steps: the readout's last membrane divided by T."""
        return self.logits.mean(0)

    @property
    def mean_features(self) -> Float[Tensor, "B F"]:
        """The mean over the steps."""
        return self.features.mean(0)


def gathered_outputs(outputs: Outputs) -> Outputs:
    """The outputs for the rows of all processes."""
    labels, membranes = outputs.labels, outputs.membranes
    layers = outputs.activations
    return replace(
        outputs,
        logits=gathered(outputs.logits, 1),
        features=gathered(outputs.features, 1),
        maps=None if outputs.maps is None else gathered(outputs.maps, 1),
        labels=None if labels is None else gathered(labels),
        membranes=membranes and tuple(gathered(v, 1) for v in membranes),
        activations=layers and {n: gathered(x, 1) for n, x in layers.items()},
    )
