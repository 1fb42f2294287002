"""Network: a Blueprint as a torch module, either an ANN or a spiking network.

The steps are folded into the batch, [T B, C, H, W] with T slowest, so that convolutions
process one large batch. The image is held for all steps. So the layers before the first
activation run once on [B, C, H, W], and that activation repeats their output T times.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stars.errors import ConfigError, DataError
from stars.networks.batch_norm import BatchNorm2d
from stars.networks.blueprint import Activation, AvgPool, Blueprint, ConvBN, Head, Layer
from stars.networks.checkpointing import blocks, run_recomputed
from stars.networks.convolution import Conv2d
from stars.networks.outputs import Outputs
from stars.runtime.device import wide


class ConvBNLayer(nn.Module):
    """Convolution, then BatchNorm2d, which always gives float32 or wider."""

    def __init__(self, spec: ConvBN) -> None:
        super().__init__()
        self.conv = Conv2d(
            *spec.channels, spec.kernel, spec.stride, spec.padding, bias=False
        )
        self.bn = BatchNorm2d(spec.channels[1], widens=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.bn(self.conv(x))  # type: ignore[no-any-return]

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [out, in, kh, kw] and bias [out], with BN folded in.

        W' = W gamma / s, b' = beta - mean gamma / s, s = sqrt(var + eps); float64.
        """
        mean, variance = self.bn.running_mean, self.bn.running_var
        if mean is None or variance is None:
            raise ConfigError(
                "a BatchNorm2d without running statistics cannot be folded"
            )
        scale = self.bn.weight.double() / (variance.double() + self.bn.eps).sqrt()
        weight = self.conv.weight.double() * scale[:, None, None, None]
        return weight, self.bn.bias.double() - mean.double() * scale


class HeadLayer(nn.Linear):
    """The linear layer that gives class scores."""

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight [out, in] and bias [out], float64."""
        return self.weight.double(), self.bias.double()


class SumReLU(nn.Module):
    """ReLU of the sum of its inputs."""

    def forward(self, *currents: Tensor) -> Tensor:
        """[N, C, H, W] each."""
        return reduce(operator.add, currents).relu()


class Network(nn.Module):
    """Runs a Blueprint.

    Args:
        blueprint: the topology.
        activation: makes the module of an Activation: ReLU, or a LIF layer that gives
            [T B, ...] from [T B, ...], or from [B, ...] if `encodes` is set.
        steps: T; 1 for an ANN.
        convolution: makes the module of a ConvBN.
        head: makes the module of the Head.
        sum_pooling: whether pools return sums; the next layer then has the 1 / area.

    Attributes:
        checkpointing: whether the backward pass recomputes everything but spikes: less
            memory, more time, the same bits; see `stars.networks.checkpointing`.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        activation: Callable[[Activation], nn.Module],
        steps: int = 1,
        convolution: Callable[[ConvBN], nn.Module] = ConvBNLayer,
        head: Callable[[Head], nn.Module] = lambda s: HeadLayer(s.features, s.classes),
        *,
        sum_pooling: bool = False,
    ) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.steps = steps
        self.sum_pooling = sum_pooling
        self.layers = nn.ModuleDict()
        for spec in blueprint.layers:
            if isinstance(spec, ConvBN):
                self.layers[spec.name] = convolution(spec)
            elif isinstance(spec, Activation):
                self.layers[spec.name] = activation(spec)
            elif isinstance(spec, Head):
                self.layers[spec.name] = head(spec)
        self._last_stage = last_stage(blueprint)
        self._blocks = blocks(blueprint, self._last_stage)
        self.checkpointing = False

    def forward(self, images: Tensor, *, layers: bool = False) -> Outputs:
        """Normalized images [B, C, H, W] -> the Outputs of all steps.

        Args:
            images: a batch.
            layers: whether to include the output of each activation layer.

        Raises:
            DataError: images have another shape than the blueprint's.
        """
        shape = self.blueprint.input_shape
        if images.shape[1:] != shape:
            raise DataError(
                f"images have shape {tuple(images.shape)}, expected [B, "
                + ", ".join(map(str, shape))
                + "]"
            )
        values = {"input": images.contiguous(memory_format=torch.channels_last)}
        for block in self._blocks:
            if self.checkpointing and torch.is_grad_enabled():
                run_recomputed(self._run, values, block, self.layers)
            else:
                self._run(values, block.layers)
        head = self.blueprint.layers[-1]
        if not isinstance(head, Head):
            raise AssertionError("a blueprint ends in a Head")
        features = values[head.source].flatten(1)
        outputs = self._read_out(head, features, values[self._last_stage])
        return (
            replace(outputs, activations=self._by_step(values)) if layers else outputs
        )

    def _run(self, values: dict[str, Tensor], layers: Sequence[Layer]) -> None:
        for spec in layers:
            if isinstance(spec, ConvBN):
                values[spec.name] = self.layers[spec.name](values[spec.source])
            elif isinstance(spec, Activation):
                currents = [values[source] for source in spec.sources]
                values[spec.name] = self.layers[spec.name](*currents)
            elif isinstance(spec, AvgPool):
                divisor = 1 if self.sum_pooling else spec.kernel**2
                values[spec.name] = F.avg_pool2d(
                    wide(values[spec.source]), spec.kernel, divisor_override=divisor
                )

    def _by_step(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            spec.name: values[spec.name].unflatten(0, (self.steps, -1))
            for spec in self.blueprint.layers
            if isinstance(spec, Activation)
        }

    def _read_out(self, spec: Head, features: Tensor, maps: Tensor) -> Outputs:
        with torch.autocast(features.device.type, enabled=False):
            logits = self.layers[spec.name](wide(features))
        return Outputs(
            logits=logits.unflatten(0, (self.steps, -1)),
            features=wide(features).unflatten(0, (self.steps, -1)),
            maps=wide(maps).unflatten(0, (self.steps, -1)),
        )


def last_stage(blueprint: Blueprint) -> str:
    """The name of the layer whose output is pooled or flattened for the head."""
    layers = {spec.name: spec for spec in blueprint.layers}
    head = blueprint.layers[-1]
    if not isinstance(head, Head):
        raise AssertionError("a blueprint ends in a Head")
    source = layers[head.source]
    return source.source if isinstance(source, AvgPool) else source.name


def ann(blueprint: Blueprint) -> Network:
    """The blueprint as a teacher, with ReLU."""
    return Network(blueprint, lambda _: SumReLU()).to(memory_format=torch.channels_last)
