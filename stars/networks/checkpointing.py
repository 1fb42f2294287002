"""Activation checkpointing: store a network's spikes and recompute the rest.

A block is one activation with the ConvBN layers and pool before it, over all T steps.
Only the outputs of blocks are stored; the backward pass runs each block again. T is not
split, because BatchNorm's statistics are over T and B together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stars.networks.blueprint import Activation, Blueprint, Layer

Run = Callable[[dict[str, Tensor], Sequence[Layer]], None]  # adds the layers' values


@dataclass(frozen=True)
class Block:
    """Layers that are recomputed together.

    Args:
        layers: in execution order.
        inputs: names of earlier layers that it reads.
        outputs: names of its layers that are read later.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def blocks(blueprint: Blueprint, last_stage: str) -> tuple[Block, ...]:
    """All layers but the head, in blocks that each end in an activation.

    Args:
        blueprint: of the network.
        last_stage: a layer that is read in addition to the head's source.
    """
    *body, head = blueprint.layers
    parts: list[list[Layer]] = [[]]
    for spec in body:
        parts[-1].append(spec)
        if isinstance(spec, Activation):
            parts.append([])
    after = {last_stage, *sources(head)}
    found = []
    for layers in reversed([part for part in parts if part]):
        names = [spec.name for spec in layers]
        read = {source for spec in layers for source in sources(spec)}
        inputs = tuple(sorted(read.difference(names)))
        outputs = tuple(name for name in names if name in after)
        found.append(Block(tuple(layers), inputs, outputs))
        after |= read
    return tuple(reversed(found))


def sources(spec: Layer) -> tuple[str, ...]:
    """The names of the layers that a layer reads."""
    return spec.sources if isinstance(spec, Activation) else (spec.source,)


def run_recomputed(
    run: Run, values: dict[str, Tensor], block: Block, modules: nn.ModuleDict
) -> None:
    """Call `run(values, block.layers)`, but store only the block's outputs.

    Gradients and running statistics are bit-exact.

    Args:
        run: computes layers.
        values: holds the block's inputs; the block's outputs are added.
        block: to run.
        modules: of the layers, by name.
    """
    norms = [
        module
        for spec in block.layers
        if spec.name in modules
        for module in modules[spec.name].modules()
        if isinstance(module, nn.BatchNorm2d)
    ]

    def compute(*inputs: Tensor) -> tuple[Tensor, ...]:
        inner = dict(zip(block.inputs, inputs, strict=True))
        run(inner, block.layers)
        return tuple(inner[name] for name in block.outputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), nothing_remembered(norms)

    outputs = checkpoint(
        compute,
        *(values[name] for name in block.inputs),
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=contexts,
    )
    values.update(zip(block.outputs, outputs, strict=True))


@contextmanager
def nothing_remembered(norms: Sequence[nn.BatchNorm2d]) -> Iterator[None]:
    """Makes training passes update copies of the layers' running statistics."""
    kept = [(norm, name, x) for norm in norms for name, x in norm.named_buffers()]
    for norm, name, x in kept:
        setattr(norm, name, x.clone())
    try:
        yield
    finally:
        for norm, name, x in kept:
            setattr(norm, name, x)
