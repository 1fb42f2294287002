"""What a user's own network computes, found by running it on a few noise images.

No order of registration and no type says which layer gives the class scores, what the
outputs mean, or whether they are random. `understood` finds out by behavior.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stars.config.user_code import raised
from stars.errors import ConfigError, DataError
from stars.networks.outputs import Outputs
from stars.teacher.spec import TeacherSpec

log = logging.getLogger(__name__)

PROBES = 2  # batches of noise
ROWS = 3  # images in each
CLOSE = 1e-3  # of the largest score: rounding of other kernels, not another result
PREFERRED = ("logits", "out", "scores")  # names of scores beside auxiliary ones

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Understanding:
    """How to read a network.

    Args:
        head: the module whose weights times its input, plus a bias, are the scores.
        path: where the scores are in what the network returns; () for the whole.
        probabilities: whether it returns probabilities, whose logarithm is taken.
    """

    head: nn.Module
    path: Path = ()
    probabilities: bool = False

    def scores(self, result: Any) -> Tensor:
        """The scores [B, K] in what the network returned.

        Raises:
            ConfigError: it returned something of another form than for the probes.
        """
        found = dict(tensors_in(result)).get(self.path)
        if found is None:
            raise ConfigError(
                f"the teacher returned {type(result).__name__} without"
                f" {place(self.path)}, which it returned for other images"
            )
        if not self.probabilities:
            return found
        return found.clamp(min=torch.finfo(found.dtype).tiny).log()


def understood(network: nn.Module, spec: TeacherSpec) -> Understanding:
    """How to read a network, in evaluation mode; logs what a user should know.

    Raises:
        ConfigError: it is TorchScript, does not take the images of `spec`, does not
            return scores [B, K], or no module computes them as weights times input.
    """
    if any(isinstance(m, torch.jit.ScriptModule) for m in network.modules()):
        raise ConfigError(
            "the teacher is TorchScript, whose layers cannot be observed; return the"
            " nn.Module that was scripted"
        )
    generator = torch.Generator().manual_seed(0)
    passes = []
    with torch.random.fork_rng(), torch.no_grad():
        for _ in range(PROBES):
            images = torch.randn((ROWS, *spec.input_shape), generator=generator)
            passes.append(observed(network, images, spec))
        path, _ = scores_in(passes[0][0], spec)
        again, alone = (observed(network, x, spec)[0] for x in (images, images[:1]))
    found = [(dict(tensors_in(result))[path], seen) for result, seen in passes]
    check_repeatable(found[-1][0], *(dict(tensors_in(r))[path] for r in (again, alone)))
    if all(not (scores - scores[:, :1]).any() for scores, _ in found):
        raise ConfigError(
            "the teacher gives all classes the same score for every probe; was it"
            " trained?"
        )
    probabilities = all(are_probabilities(scores) for scores, _ in found)
    if probabilities:
        log.warning(
            "the teacher returns probabilities; their logarithm is used as scores, with"
            " which every temperature keeps its meaning"
        )
    logits = [scores.log() if probabilities else scores for scores, _ in found]
    heads = [
        module
        for module in found[0][1]
        if all(
            module in seen and computes(module, seen[module], scores)
            for scores, (_, seen) in zip(logits, found, strict=True)
        )
    ]
    if not heads:
        raise ConfigError(
            "the teacher has no Linear layer that gives class scores: none of its"
            " modules computes them as weights times its input, plus a bias; end it in"
            " such a layer"
        )
    return Understanding(heads[-1], path, probabilities)


def observed(
    network: nn.Module, images: Tensor, spec: TeacherSpec
) -> tuple[Any, dict[nn.Module, Tensor]]:
    """(What the network returns, the last input of each module with K rows of weights).

    Raises:
        ConfigError: it does not accept the images.
    """
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, x: tuple[Any, ...]) -> None:
        if x and isinstance(x[0], Tensor):
            seen.pop(module, None)  # so that the order is that of last calls
            seen[module] = x[0].flatten(1)

    hooks = [
        module.register_forward_pre_hook(keep)
        for module in network.modules()
        if isinstance(weight := getattr(module, "weight", None), Tensor)
        and weight.ndim > 1
        and len(weight) == spec.classes
    ]
    try:
        return network(images), seen
    except (RuntimeError, ValueError, TypeError, IndexError, DataError) as error:
        raise ConfigError(
            f"it does not accept an image of {spec.input_shape}: {error}"
        ) from error
    except Exception as error:  # a fault of the user's code
        raise raised(error, "its forward pass") from error
    finally:
        for hook in hooks:
            hook.remove()


def computes(module: nn.Module, x: Tensor, scores: Tensor) -> bool:
    """Whether weights times `x` [B, F] plus a bias are `scores` [B, K].

    One number for each image may differ, as between scores and log-probabilities.
    """
    weight = module.weight.flatten(1)  # type: ignore[operator]
    if x.shape[1] != weight.shape[1]:
        return False
    product = nn.functional.linear(x.float(), weight.float(), module.bias)  # type: ignore[arg-type]
    gap = product - scores.float()
    spread = (gap - gap.mean(1, keepdim=True)).abs().max()
    scale = (scores - scores.mean(1, keepdim=True)).abs().max()
    return bool(spread <= CLOSE * scale) and bool(scale > 0)


def scores_in(result: Any, spec: TeacherSpec) -> tuple[Path, Tensor]:
    """(Place, value) of the scores [B, K] in what a network returned.

    Raises:
        ConfigError: there are none, or several and none has a name for scores.
    """
    every = dict(tensors_in(result))
    found = {p: t for p, t in every.items() if t.shape == (ROWS, spec.classes)}
    named = {p: t for p, t in found.items() if p and p[-1] in PREFERRED}
    for candidates in (found, named):
        if len(candidates) == 1:
            return next(iter(candidates.items()))
    if found:
        raise ConfigError(
            f"the teacher returned several tensors [B, {spec.classes}], in"
            f" {', '.join(map(place, found))}; return only the class scores"
        )
    shapes = ", ".join(f"{place(p)} {tuple(t.shape[1:])}" for p, t in every.items())
    raise ConfigError(
        f"the teacher returned {type(result).__name__} with scores of shape"
        f" {shapes or 'none'} for an image, expected ({spec.classes},)"
    )


def tensors_in(value: Any, path: Path = ()) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor in nested tuples, lists and mappings, with its place."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Outputs):
        yield path, value.mean_logits
    elif hasattr(value, "_asdict"):  # a named tuple
        yield from tensors_in(value._asdict(), path)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors_in(part, (*path, key))
    elif isinstance(value, tuple | list):
        for key, part in enumerate(value):
            yield from tensors_in(part, (*path, key))


def place(path: Path) -> str:
    """A place in a result, as Python would write it."""
    return "the result" + "".join(f"[{key!r}]" for key in path)


def check_repeatable(scores: Tensor, again: Tensor, alone: Tensor) -> None:
    """Log a warning if a pass is random, or an image's scores depend on the others."""
    scale = scores.abs().max().clamp(min=torch.finfo(scores.dtype).tiny)
    for other, cause in (
        (again, "is random in evaluation (a dropout that ignores `self.training`?)"),
        (alone, "gives an image other scores in another batch (batch statistics?)"),
    ):
        gap = float((scores[: len(other)] - other).abs().max() / scale)
        if gap > CLOSE:
            log.warning(
                "the teacher %s: its scores differ by up to %.2g of the"
                " largest, so no run with it can be repeated",
                cause,
                gap,
            )
            return


def are_probabilities(scores: Tensor) -> bool:
    """Whether no value is below 0 and every row sums to 1."""
    sums = scores.float().sum(1)
    return bool((scores >= 0).all()) and bool((sums - 1).abs().max() < CLOSE)
