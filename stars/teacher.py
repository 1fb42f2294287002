"""Teacher: a trained ANN, frozen, with taps on what its BatchNorm2d layers see.

It may be one of ours (safetensors that describe themselves), a state dict for a named
architecture, or the user's own module. Synthesis needs nothing of it but BatchNorm2d.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from zipfile import is_zipfile

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from stars.architectures import blueprint
from stars.architectures.frozen import frozen
from stars.architectures.network import Network, ann
from stars.config import TeacherConfig
from stars.data import BUNDLED, read_asset
from stars.distributed import mean_over_processes
from stars.errors import ConfigError, DataError, FormatError
from stars.files import atomic
from stars.imports import imported
from stars.npz import check_archive
from stars.outputs import Outputs
from stars.tensor_file import filled, read_tensors
from stars.texts import parse_json

BUNDLED_TEACHER = "fashion_mnist_teacher.safetensors"
METADATA_KEY = "stars.teacher"


@dataclass(frozen=True)
class TeacherSpec:
    """What must be known of a teacher beside its weights.

    Args:
        architecture: a row of ARCHITECTURES; "" for the user's own module.
        options: the architecture's options.
        input_shape: (C, H, W).
        classes: K.
        mean, deviation: per channel, of pixel / 255, that it was trained with.
        notes: how it was made; free text by name.
    """

    architecture: str
    options: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.input_shape) < 1:
            raise ConfigError(f"teacher: input_shape {self.input_shape} is empty")
        channels = self.input_shape[0]
        if not len(self.mean) == len(self.deviation) == channels:
            raise ConfigError(
                f"teacher: mean {list(self.mean)} and deviation {list(self.deviation)}"
                f" need one value for each of {channels} channels"
            )
        if not min(self.deviation) > 0:
            raise ConfigError(f"teacher: deviation {self.deviation} must be positive")

    @classmethod
    def from_json(cls, text: str) -> TeacherSpec:
        """The spec that `to_json` wrote.

        Raises:
            FormatError: not such a text.
        """
        try:
            raw = parse_json(text)
            return cls(
                architecture=str(raw["architecture"]),
                options=dict(raw["options"]),
                input_shape=tuple(int(n) for n in raw["input_shape"]),  # type: ignore[arg-type]
                classes=int(raw["classes"]),
                mean=tuple(float(m) for m in raw["mean"]),
                deviation=tuple(float(d) for d in raw["deviation"]),
                notes=dict(raw["notes"]),
            )
        except (
            ValueError,
            KeyError,
            TypeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise FormatError(
                f"the teacher's description is damaged: {error}"
            ) from error

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class BatchNormTap:
    """One BatchNorm2d layer and what it was given in one pass.

    Args:
        layer: the module, with running_mean, running_var, weight, bias.
        inputs: [B, C, H, W], before normalisation; of a batch that processes share, the
            rows of this one.
        fused: whether what is computed of them may be compiled.
        shared: whether processes share the batch.
    """

    layer: nn.BatchNorm2d
    inputs: Tensor
    fused: bool = False
    shared: bool = False

    def mean_over_batch(self, mean: Tensor) -> Tensor:
        """The whole batch's mean, of what is a mean over the rows of `inputs`."""
        return mean_over_processes(mean) if self.shared else mean


class Teacher(nn.Module):
    """A frozen ANN in evaluation mode.

    Args:
        network: gives class scores [B, K], or Outputs.
        spec: what must be known beside it.

    Attributes:
        fused: whether what is computed of its taps may be compiled.

    Raises:
        ConfigError: it has no BatchNorm2d with running statistics, or no linear layer.
    """

    def __init__(self, network: nn.Module, spec: TeacherSpec) -> None:
        super().__init__()
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        if not any(m.track_running_stats for m in norms):
            raise ConfigError(
                "the teacher has no BatchNorm2d with running statistics; synthesis"
                " matches them and cannot work without"
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
        """This teacher, what is computed of its taps compiled, on the same parameters.

        In a network of ours the ReLUs as well, with BatchNorm in them.
        """
        network = self.network
        if isinstance(network, Network):
            network = frozen(network)
        twin = Teacher(network, self.spec)
        twin.fused, twin._last_stage = True, self._last_stage
        return twin

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002, FBT001, FBT002
        """Stay in evaluation mode: a teacher never learns."""
        return super().train(mode=False)

    def forward(self, images: Tensor) -> Outputs:
        """Normalised images [B, C, H, W] -> logits [1, B, K], features [1, B, F].

        The features are what its last Linear layer reads, the maps [1, B, F, H, W] what
        they are the mean of; None for a module of the user's own that has no such maps,
        or of which `find_maps` was not asked.

        Raises:
            ConfigError: the user's own module gives no tensor, or does not use that
                layer.
        """
        seen: list[Tensor] = []
        maps: list[Tensor] = []
        hooks = [self._head.register_forward_pre_hook(lambda _, x: seen.append(x[0]))]
        if self._last_stage is not None:
            keep = self._last_stage.register_forward_hook
            hooks.append(keep(lambda _, __, y: maps.append(y)))
        try:
            result = self.network(images)
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
    def answer(self, images: Tensor, *, bf16: bool) -> Outputs:
        """What `forward` gives, where no gradient is wanted.

        Args:
            images: normalised, [B, C, H, W].
            bf16: convolutions in bfloat16.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return self.forward(images)

    @torch.no_grad()
    def find_maps(self) -> None:
        """Find, on one noise image, the last module whose mean the head reads.

        Maps of which the head does not read the mean over the image would give no class
        activation map, so they are not shown.
        """
        last: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, _: object, y: object) -> None:
            if isinstance(y, Tensor) and y.ndim == 4 and y.shape[2] * y.shape[3] > 1:
                last.pop(module, None)  # so that the order is that of the last calls
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
        """Within it, every pass appends what each BatchNorm2d saw, in order.

        Args:
            shared: the images are this process's rows of a batch that processes share.
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
        """Within it, every pass appends its number of images."""
        images: list[int] = []
        hook = self.register_forward_hook(lambda _, x, __: images.append(len(x[0])))
        try:
            yield images
        finally:
            hook.remove()

    def checksum(self) -> str:
        """SHA-256 of the weights' names and bytes, whatever file they came from."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32, as the teacher was trained."""
        mean = torch.tensor(self.spec.mean, device=images.device)[:, None, None]
        deviation = torch.tensor(self.spec.deviation, device=images.device)
        return (images.float() / 255 - mean) / deviation[:, None, None]


def load(source: str, spec: TeacherSpec | None = None) -> Teacher:
    """The teacher that `source` names.

    Args:
        source: "fashion-mnist" (bundled); a .safetensors or .pt / .pth state dict; or
            "module:function", which is imported and called, so it runs code.
        spec: needed unless the file describes itself.

    Raises:
        ConfigError: the spec is missing, or does not fit a teacher.
        FormatError: the file is missing, foreign, or does not fit the architecture.
    """
    if source == BUNDLED:
        with read_asset(BUNDLED_TEACHER) as file:
            return from_safetensors(file.read(), BUNDLED_TEACHER, spec)
    path = Path(source).expanduser()
    if path.suffix in (".safetensors", ".pt", ".pth"):
        if not path.is_file():
            raise FormatError(f"teacher '{path}': no such file")
        if path.suffix == ".safetensors":
            return from_safetensors(path.read_bytes(), str(path), spec)
        return from_state_dict(read_pickle(path), str(path), spec)
    if ":" in source:
        return from_function(source, spec)
    raise ConfigError(
        f"teacher {source!r}: allowed are '{BUNDLED}', a .safetensors, .pt or .pth"
        " file, or module:function"
    )


def spec_of(config: TeacherConfig) -> TeacherSpec | None:
    """The spec in a [teacher] section; None when it names no input shape.

    Raises:
        ConfigError: some of input_shape, classes, mean, deviation, but not all.
    """
    needed = (config.input_shape, config.classes, config.mean, config.deviation)
    if not any(needed):
        return None
    if config.input_shape is None or config.classes is None:
        raise ConfigError(
            "[teacher] needs all of input_shape, classes, mean and deviation, or none"
        )
    return TeacherSpec(
        architecture=config.architecture,
        options=config.options,
        input_shape=config.input_shape,
        classes=config.classes,
        mean=config.mean,
        deviation=config.deviation,
    )


def from_safetensors(content: bytes, where: str, spec: TeacherSpec | None) -> Teacher:
    """A teacher from the bytes of a .safetensors file."""
    try:
        tensors, texts = read_tensors(content)
    except FormatError as error:
        raise FormatError(f"teacher '{where}': {error}") from error
    described = texts.get(METADATA_KEY)
    return from_state_dict(
        tensors, where, TeacherSpec.from_json(described) if described else spec
    )


def read_pickle(path: Path) -> Mapping[str, Tensor]:
    """The state dict of a .pt file; only weights are unpickled.

    Raises:
        FormatError: not a state dict, or it holds anything but tensors.
    """
    try:
        if is_zipfile(path):
            check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(
            f"teacher '{path}': not a state dict that can be read safely ({reason})"
        ) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(v, Tensor) for v in loaded.values()
    ):
        raise FormatError(f"teacher '{path}': holds no state dict of tensors")
    return loaded


def from_state_dict(
    tensors: Mapping[str, Tensor], where: str, spec: TeacherSpec | None
) -> Teacher:
    """A teacher of a named architecture with these weights.

    Raises:
        ConfigError: no spec.
        FormatError: names or shapes differ from the architecture's.
    """
    if spec is None or not spec.architecture:
        raise ConfigError(
            f"teacher '{where}' does not describe itself: give architecture, options,"
            " input_shape, classes, mean and deviation in [teacher] of a config file"
        )
    plan = blueprint(spec.architecture, spec.input_shape, spec.classes, spec.options)
    try:
        network = filled(lambda: ann(plan), tensors)
    except FormatError as error:
        raise FormatError(
            f"teacher '{where}' is not a {spec.architecture} with options"
            f" {dict(spec.options)}: {error}"
        ) from error
    return Teacher(network, spec)


def from_function(source: str, spec: TeacherSpec | None) -> Teacher:
    """A teacher from the user's own `module:function`, which returns an nn.Module.

    Raises:
        ConfigError: it cannot be imported, returns something else, or lacks a spec.
    """
    network = imported(source, "teacher")()
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"teacher {source!r} returned {type(network).__name__}, expected nn.Module"
        )
    if spec is None:
        raise ConfigError(
            f"teacher {source!r}: give input_shape, classes, mean and deviation in"
            " [teacher] of a config file"
        )
    teacher = Teacher(network, spec)
    check_pass(teacher, source)
    teacher.find_maps()
    return teacher


def check_pass(teacher: Teacher, where: str) -> None:
    """Run one blank image through and check the scores' shape.

    Raises:
        ConfigError: the network does not take the image, gives other scores, or runs
            none of its BatchNorm2d layers.
    """
    spec = teacher.spec
    try:
        with torch.no_grad(), teacher.tapped() as taps:
            logits = teacher(torch.zeros(1, *spec.input_shape)).logits
    except (RuntimeError, ValueError, DataError) as error:
        raise ConfigError(
            f"teacher {where!r} does not take an image of {spec.input_shape}: {error}"
        ) from error
    if logits.shape != (1, 1, spec.classes):
        raise ConfigError(
            f"teacher {where!r} gives scores of shape {tuple(logits.shape[1:])},"
            f" expected (1, {spec.classes})"
        )
    if not any(tap.layer.running_mean is not None for tap in taps):
        raise ConfigError(f"teacher {where!r} runs none of its BatchNorm2d layers")


def save(teacher: Teacher, path: Path) -> None:
    """Write weights and description as one .safetensors file, all or nothing."""
    tensors = {k: v.contiguous() for k, v in teacher.network.state_dict().items()}
    with atomic(path) as temporary:
        # As bytes: the library's own writing raises no OSError where the disk is full.
        metadata = {METADATA_KEY: teacher.spec.to_json()}
        temporary.write_bytes(to_bytes(tensors, metadata))
