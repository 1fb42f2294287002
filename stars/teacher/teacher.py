"""Teacher: a trained, frozen ANN with taps on the inputs of its BatchNorm2d layers.

It comes from a self-describing safetensors file, from a state dict for a named
architecture, or from the user's own module. Synthesis needs only BatchNorm2d layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from stars.errors import ConfigError
from stars.networks.frozen import frozen
from stars.networks.network import Network
from stars.networks.outputs import Outputs
from stars.runtime.distributed import mean_over_processes
from stars.teacher.spec import TeacherSpec


@dataclass(frozen=True)
class BatchNormTap:
    """One BatchNorm2d layer and its input in one pass.

    Args:
        layer: the module, with running_mean, running_var, weight, bias.
        inputs: [B, C, H, W], before normalization, this process's rows.
        fused: whether statistics of `inputs` are computed by compiled kernels.
        shared: whether other processes hold further rows of the batch.
    """

    layer: nn.BatchNorm2d
    inputs: Tensor
    fused: bool = False
    shared: bool = False

    def mean_over_batch(self, mean: Tensor) -> Tensor:
        """Turn a mean over the rows of `inputs` into that over the whole batch."""
        return mean_over_processes(mean) if self.shared else mean


class Teacher(nn.Module):
    """A frozen ANN in evaluation mode.

    Args:
        network: returns class scores [B, K], or Outputs.
        spec: its description.

    Attributes:
        fused: whether statistics of its taps are computed by compiled kernels.

    Raises:
        ConfigError: it has no BatchNorm2d with running statistics, or no Linear layer.
    """

    def __init__(self, network: nn.Module, spec: TeacherSpec) -> None:
        super().__init__()
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        if not any(m.track_running_stats for m in norms):
            raise ConfigError(
                "the teacher has no BatchNorm2d with running statistics, but synthesis"
                " matches them; use a teacher with BatchNorm2d layers"
            )
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise ConfigError("the teacher has no Linear layer that gives class scores")
        self.spec = spec
        self.fused = False
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._norms = norms
        self._head = linear[-1]
        self._last_stage: nn.Module | None = None

    def compiled(self) -> Teacher:
        """A copy that shares the weights and compiles the BatchNorm statistics.

        In our own architectures, BatchNorm and ReLU also run as one compiled kernel.
        """
        network = self.network
        if isinstance(network, Network):
            network = frozen(network)
        twin = Teacher(network, self.spec)
        twin.fused, twin._last_stage = True, self._last_stage
        return twin

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002, FBT001, FBT002
        """Stay in evaluation mode: a teacher is never trained."""
        return super().train(mode=False)

    def forward(self, images: Tensor, *, layers: bool = False) -> Outputs:
        """Normalized images [B, C, H, W] -> logits [1, B, K], features [1, B, F].

        The features are the input of the last Linear layer, and the mean over the image
        of the maps [1, B, F, H, W]. The maps are None if a user's own module has no
        such maps, or if `find_maps` was not called.

        Args:
            images: a batch.
            layers: whether to include the activations of all layers; only a `Network`
                has them.

        Raises:
            ConfigError: the user's own module returns no tensor, or does not run its
                last Linear layer.
        """
        seen: list[Tensor] = []
        maps: list[Tensor] = []
        hooks = [self._head.register_forward_pre_hook(lambda _, x: seen.append(x[0]))]
        if self._last_stage is not None:
            keep = self._last_stage.register_forward_hook
            hooks.append(keep(lambda _, __, y: maps.append(y)))
        try:
            shows = layers and isinstance(self.network, Network)
            result = self.network(images, **({"layers": True} if shows else {}))
        finally:
            for hook in hooks:
                hook.remove()
        if isinstance(result, Outputs):
            return replace(result, head=self._head.weight)
        if not isinstance(result, Tensor) or not seen:
            raise ConfigError(
                f"the teacher returned {type(result).__name__} and ran its last Linear"
                f" layer {len(seen)} times; expected a tensor [B, K] that comes from it"
            )
        return Outputs(
            logits=result[None],
            features=seen[-1].flatten(1)[None],
            maps=maps[-1][None] if maps else None,
            head=self._head.weight,
        )

    @torch.no_grad()
    def answer(self, images: Tensor, *, bf16: bool, layers: bool = False) -> Outputs:
        """The outputs of `forward`, without gradients.

        Args:
            images: normalized, [B, C, H, W].
            bf16: whether convolutions run in bfloat16.
            layers: as in `forward`.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return self.forward(images, layers=layers)

    @torch.no_grad()
    def find_maps(self) -> None:
        """Find, with one noise image, the last module whose mean the head reads.

        Class activation maps need such a module; without one the maps stay None.
        """
        last: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, _: object, y: object) -> None:
            if isinstance(y, Tensor) and y.ndim == 4 and y.shape[2] * y.shape[3] > 1:
                last.pop(module, None)  # so that the order is that of last calls
                last[module] = y

        shape = (1, *self.spec.input_shape)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        hooks = [m.register_forward_hook(keep) for m in self.network.modules()]
        try:
            features = self(noise).mean_features
        finally:
            for hook in hooks:
                hook.remove()
        for module, maps in reversed(last.items()):
            mean = maps.mean((2, 3))
            if mean.shape == features.shape and torch.allclose(
                mean, features, rtol=1e-3, atol=1e-5
            ):
                self._last_stage = module
                return

    @contextmanager
    def tapped(self, *, shared: bool = False) -> Iterator[list[BatchNormTap]]:
        """Makes every pass append the input of each BatchNorm2d to a list, in order.

        Args:
            shared: whether other processes hold further rows of the batch.
        """
        taps: list[BatchNormTap] = []

        def keep(layer: nn.Module, x: tuple[Tensor, ...]) -> None:
            norm = cast("nn.BatchNorm2d", layer)
            taps.append(BatchNormTap(norm, x[0], self.fused, shared))

        hooks = [layer.register_forward_pre_hook(keep) for layer in self._norms]
        try:
            yield taps
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Makes every pass append its number of images to a list."""
        images: list[int] = []
        hook = self.register_forward_hook(lambda _, x, __: images.append(len(x[0])))
        try:
            yield images
        finally:
            hook.remove()

    def checksum(self) -> str:
        """SHA-256 of the weights' names and bytes; the file format does not matter."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32, normalized as in the teacher's training."""
        return normalize(images, self.spec)


def normalize(images: Tensor, spec: TeacherSpec) -> Tensor:
    """uint8 [B, C, H, W] -> float32 with the spec's mean and deviation."""
    mean = torch.tensor(spec.mean, device=images.device)[:, None, None]
    deviation = torch.tensor(spec.deviation, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / deviation
