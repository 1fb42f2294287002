"""The energy of networks without spikes: the ANN, the teacher, a quantized network.

The cost table that prices the spikes prices them too, hence on the same process node.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import computed_field

from targets.energy_model.counts import Counts
from targets.energy_model.synapses import AnnLayer
from targets.hardware.costs import CostTable, Memory
from targets.record import Record

IMAGE_BITS = 8


@dataclass(frozen=True)
class Snn:
    """Joules of the spiking network, over all images.

    Args:
        of_spikes: the part that is proportional to the number of spikes.
        total: all joules.
    """

    of_spikes: float
    total: float

    @property
    def fixed(self) -> float:
        """The part that does not depend on spikes."""
        return self.total - self.of_spikes


class Alternative(Record):
    """A network without spikes, under the same table.

    Args:
        name: "ann" and "qnn" (bit-matched, quantized) have the same topology; "teacher"
            is the student's teacher. "teacher zero-skipping" counts only products
            without a zero factor.
        bits: of an activation; None for the table's own width.
        joules_per_image: None if it is not priced.
        reason: why it is not priced.
        snn_wins: whether the spiking network needs less; None if it is not priced.
        crossover_spike_rate: the spike rate below which the SNN needs less, all else
            equal; it may exceed 1. None if it is not priced or no rate is low enough.
    """

    name: str
    bits: int | None = None
    joules_per_image: float | None = None
    reason: str | None = None
    snn_wins: bool | None = None
    crossover_spike_rate: float | None = None


class TeacherLayers(Record):
    """The layers of the student's teacher.

    Args:
        layers: with measured `macs_lit`; None if the teacher is not available.
        reason: why it is not available.
        decisions: its class of each image, in order; empty if it is not available.
    """

    layers: tuple[AnnLayer, ...] | None = None
    reason: str | None = None
    decisions: tuple[int, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def known(self) -> bool:
        """Whether the teacher is available."""
        return self.layers is not None


NOT_AT_HAND = TeacherLayers(
    reason="the teacher is not available: its activations are unknown"
)


def alternatives(
    counts: Counts, snn: Snn, table: CostTable, teacher: TeacherLayers
) -> tuple[Alternative, ...]:
    """The networks without spikes, priced under the same table.

    The bit-matched quantized network has activations of ceil(log2(T + 1)) bits, enough
    for the T + 1 possible spike counts. Source: Yan et al., arXiv:2409.08290, abstract.
    """
    bits = math.ceil(math.log2(counts.steps + 1))
    mac = None if table.ann_mac is None else ProductCost(table.ann_mac.joules)
    qnn = None
    if table.qnn_bit is not None and table.qnn_add is not None:
        qnn = ProductCost(table.qnn_add.joules, table.qnn_bit.joules, bits)

    def row(
        name: str,
        ann: tuple[AnnLayer, ...] | None,
        product: ProductCost | None,
        reason: str | None = None,
        width: int | None = None,
    ) -> Alternative:
        if ann is not None and product is None:
            reason = f"table '{table.name}' does not price it on this process"
        if ann is None or product is None:
            return Alternative(name=name, bits=width, reason=reason)
        lit = name.endswith("zero-skipping")
        joules = counts.images * ann_energy(ann, product, table, lit=lit)
        rate = None
        if snn.of_spikes > 0 and joules > snn.fixed:
            rate = counts.spike_rate * (joules - snn.fixed) / snn.of_spikes
        return Alternative(
            name=name,
            bits=width,
            joules_per_image=joules / counts.images,
            snn_wins=snn.total < joules,
            crossover_spike_rate=rate,
        )

    return (
        row("ann", counts.ann, mac),
        row("teacher", teacher.layers, mac, teacher.reason),
        row("teacher zero-skipping", teacher.layers, mac, teacher.reason),
        row("qnn", counts.ann, qnn, width=bits),
    )


@dataclass(frozen=True)
class ProductCost:
    """The joules of one multiply-accumulate: a fixed part and a part per bit.

    Args:
        once, each_bit: joules per product; joules per product and activation bit.
        bits: of an activation; an image has 8.
    """

    once: float
    each_bit: float = 0.0
    bits: int = 0

    def joules(self, layer: AnnLayer) -> float:
        """Joules of one product in this layer."""
        return self.once + self.each_bit * (IMAGE_BITS if layer.image else self.bits)


def ann_energy(
    layers: Iterable[AnnLayer], product: ProductCost, table: CostTable, *, lit: bool
) -> float:
    """Joules per image of a network without spikes.

    Args:
        layers: of the network.
        product: the cost of a multiply-accumulate.
        table: prices accesses and addresses, if it has prices for them.
        lit: count only products without a zero factor.
    """
    total = 0.0
    for layer in layers:
        macs = layer.macs_lit if lit and layer.macs_lit is not None else layer.macs
        total += macs * product.joules(layer)
        if table.memory is not None and table.address_ac is not None:
            total += ann_memory(layer, macs, table.memory, table.address_ac.joules)
    return total


def ann_memory(layer: AnnLayer, macs: float, memory: Memory, address: float) -> float:
    """Joules of a layer's memory accesses and address computations.

    Every product reads its weight; in a convolution it also reads its activation. A
    dense layer reads each activation once. Every output reads its bias and is written.

    Source: Lemaire et al. 2022, arXiv:2210.13107, as for `connection_memory`.
    """
    reads = macs if layer.kernels else layer.inputs
    total = reads * memory.access(layer.inputs) + macs * memory.access(layer.weights)
    total += layer.outputs * memory.access(layer.outputs)
    total += layer.outputs * memory.access(layer.biases) if layer.biases else 0.0
    return total + (layer.inputs + layer.outputs + layer.kernels) * address
