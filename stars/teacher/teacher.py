"""Teacher: a trained, frozen ANN with taps on the inputs of its BatchNorm2d layers.

It comes from a self-describing safetensors file, from a state dict for a named
architecture, or from the user's own module. A BatchNorm2d layer here is any module with
running statistics and images of features as input, such as a synchronized one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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
from stars.teacher.probing import Understanding, understood
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
        network: returns class scores [B, K], also inside a tuple or a mapping; or
            Outputs.
        spec: its description.
        reading: how to read the network; None finds out with a few noise images.

    Attributes:
        fused: whether statistics of its taps are computed by compiled kernels.

    Raises:
        ConfigError: it cannot be understood; see `stars.teacher.probing`.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: TeacherSpec,
        reading: Understanding | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.fused = False
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._norms = [m for m in network.modules() if has_statistics(m)]
        if reading is None and isinstance(network, Network):
            (head,) = (m for m in network.modules() if isinstance(m, nn.Linear))
            reading = Understanding(head)
        self._reading = reading or understood(network.float(), spec)
        self._head = self._reading.head
        self._last_stage: nn.Module | None = None

    def compiled(self) -> Teacher:
        """A copy that shares the weights and compiles the BatchNorm statistics.

        In our own architectures, BatchNorm and ReLU also run as one compiled kernel.
        """
        network = self.network
        if isinstance(network, Network):
            network = frozen(network)
        own = isinstance(network, Network)
        twin = Teacher(network, self.spec, None if own else self._reading)
        twin.fused, twin._last_stage = True, self._last_stage
        return twin

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002, FBT001, FBT002
        """Stay in evaluation mode: a teacher is never trained."""
        return super().train(mode=False)

    def forward(self, images: Tensor, *, layers: bool = False) -> Outputs:
        """Normalized images [B, C, H, W] -> logits [1, B, K], features [1, B, F].

        The features are the input of the head, the layer that gives the scores, and the
        mean over the image of the maps [1, B, F, H, W]. The maps are None if a user's
        own module has no such maps, or if `find_maps` was not called.

        Args:
            images: a batch.
            layers: whether to include the activations of all layers; only a `Network`
                has them.

        Raises:
            ConfigError: the user's own module returns no scores, or does not run its
                head.
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
            return replace(result, head=self._weight())
        if not seen:
            raise ConfigError("the teacher did not run the layer that gives its scores")
        return Outputs(
            logits=self._reading.scores(result)[None],
            features=seen[-1].flatten(1)[None],
            maps=maps[-1][None] if maps else None,
            head=self._weight(),
        )

    def _weight(self) -> Tensor:
        """The weights of the head, [K, F]."""
        weight: Tensor = self._head.weight.flatten(1)  # type: ignore[operator]
        return weight

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
            with torch.random.fork_rng():
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
            if x[0].ndim == 4:  # a BatchNorm1d sees no images
                taps.append(BatchNormTap(norm, x[0], self.fused, shared))

        hooks = [layer.register_forward_pre_hook(keep) for layer in self._norms]
        try:
            yield taps
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def check_statistics(self, readers: Sequence[str]) -> None:
        """Raise if the teacher runs no BatchNorm2d that `readers` could match.

        Raises:
            ConfigError: it does not, and there are readers; names them.
        """
        with self.tapped() as taps:
            if readers:
                self(torch.zeros(1, *self.spec.input_shape))
        if readers and not taps:
            raise ConfigError(
                "the teacher runs no BatchNorm2d with running statistics, but"
                f" {', '.join(readers)} match them; use a teacher with BatchNorm2d"
                " layers, or a method and priors that read none, such as --method dafl"
            )

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


def has_statistics(module: nn.Module) -> bool:
    """Whether a module has a running mean and variance."""
    statistics = (getattr(module, f"running_{name}", None) for name in ("mean", "var"))
    return all(isinstance(values, Tensor) for values in statistics)


def normalize(images: Tensor, spec: TeacherSpec) -> Tensor:
    """uint8 [B, C, H, W] -> float32 with the spec's mean and deviation."""
    mean = torch.tensor(spec.mean, device=images.device)[:, None, None]
    deviation = torch.tensor(spec.deviation, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / deviation
