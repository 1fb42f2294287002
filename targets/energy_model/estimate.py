"""Price counts under a cost table, next to networks without spikes.

Every comparison is within one table, hence on one process node.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ConfigDict, field_validator

from targets.energy_model.alternatives import (
    NOT_AT_HAND,
    Alternative,
    Snn,
    TeacherLayers,
    alternatives,
)
from targets.energy_model.counts import (
    ConnectionCount,
    Counts,
    PopulationCount,
)
from targets.hardware.costs import CostTable
from targets.record import Record

PER_IMAGE = "_joules_per_image"  # suffix of the field of each network without spikes


class EnergyShares(Record):
    """Joules that a layer's total includes, over all images.

    Args:
        of_spikes: the part that is proportional to the number of spikes.
        saved_held: the part that a first layer saves if it computes a constant image
            once instead of at every step.
    """

    of_spikes: float = 0.0
    saved_held: float = 0.0


class LayerEnergy(Record):
    """Joules of one population and of the connections into it, over all images.

    Args:
        name: of the population.
        ac, mac: operations of spikes; operations of the image, at every step.
        updates, spikes: neuron updates; sent spikes.
        memory: accesses and addresses; 0 if the table does not price them separately.
        total: the sum.
        shares: parts of the total under other aspects.
    """

    model_config = ConfigDict(extra="allow")  # a later version may add parts

    name: str
    ac: float = 0.0
    mac: float = 0.0
    updates: float = 0.0
    spikes: float = 0.0
    memory: float = 0.0
    total: float
    shares: EnergyShares = EnergyShares()

    def parts(self) -> dict[str, float]:
        """The joules of each part that is not 0; they add up to the total."""
        return {
            name: value
            for name, value in self
            if name != "total" and isinstance(value, float | int) and value
        }


class EnergyEstimate(Record):
    """Counts under one cost table.

    Args:
        table: the costs and their sources.
        joules: over all images, with the image multiplied at every step.
        joules_per_image_held: with a constant image multiplied once.
        joules_per_image_pooled_dense: under the lowering "pooled-dense"; None without a
            pool, or if the table prices memory, which only "routed" models.
        alternatives: networks without spikes.
        layers: in execution order.
    """

    model_config = ConfigDict(extra="allow")  # a later version may add networks

    table: CostTable
    joules: float
    joules_per_image: float
    joules_per_image_held: float | None = None
    joules_per_image_pooled_dense: float | None = None
    ann_joules_per_image: float | None = None
    teacher_joules_per_image: float | None = None
    teacher_zero_skipping_joules_per_image: float | None = None
    qnn_joules_per_image: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    layers: tuple[LayerEnergy, ...]

    @field_validator("table", mode="before")
    @classmethod
    def _of_version_0_1(cls, table: Any) -> Any:
        """Accept a table of version 0.1, which does not name its process."""
        return {"process": "", **table} if isinstance(table, Mapping) else table

    @property
    def others(self) -> dict[str, float]:
        """Joules per image of each priced network without spikes, by name."""
        return {
            key.removesuffix(PER_IMAGE): float(value)
            for key, value in self
            if key.endswith(PER_IMAGE) and isinstance(value, float | int)
        }

    def parts(self) -> dict[str, float]:
        """Joules by part, over all layers and images."""
        total: Counter[str] = Counter()
        for layer in self.layers:
            total.update(layer.parts())
        return dict(total)


def estimate(
    counts: Counts, table: CostTable, teacher: TeacherLayers = NOT_AT_HAND
) -> EnergyEstimate:
    """The joules of each layer, and of networks without spikes, under one table."""
    layers = tuple(layer_energy(counts, p, table) for p in counts.populations)
    total = sum(layer.total for layer in layers)
    snn = Snn(sum(layer.shares.of_spikes for layer in layers), total)
    others = alternatives(counts, snn, table, teacher)
    held = total - sum(layer.shares.saved_held for layer in layers)
    pooled = pooled_dense(counts, layers, table)
    return EnergyEstimate(
        table=table,
        joules=total,
        joules_per_image=total / counts.images,
        joules_per_image_held=held / counts.images,
        joules_per_image_pooled_dense=None
        if pooled is None
        else pooled / counts.images,
        alternatives=others,
        layers=layers,
        **{re.sub("[ -]", "_", a.name) + PER_IMAGE: a.joules_per_image for a in others},
    )


def layer_energy(
    counts: Counts, population: PopulationCount, table: CostTable
) -> LayerEnergy:
    """Joules of one population and of the connections into it."""
    into = counts.into(population.name)
    price = {"AC": table.ac.joules, "MAC": table.mac.joules}
    inactive = population.updates - population.active
    ac, mac = (
        price[kind] * counts.operations(kind, population.name) for kind in ("AC", "MAC")
    )
    spikes = population.spikes * table.spike.joules
    access = [connection_memory(c, population, table) for c in into]
    kinds = [c.kind for c in into]
    by_spikes = sum(j for j, kind in zip(access, kinds, strict=True) if kind == "AC")
    queue, steps = neuron_memory(population, table)
    held = sum(
        (joules + c.operations * price[c.kind]) * (1 - c.operations_held / c.operations)
        for joules, c in zip(access, into, strict=True)
        if c.operations
    )
    parts = {
        "ac": ac,
        "mac": mac,
        "updates": population.active * table.update_active.joules
        + inactive * table.update_inactive.joules,
        "spikes": spikes,
        "memory": sum(access) + queue + steps,
    }
    of_spikes = ac + spikes + by_spikes + queue
    return LayerEnergy(
        name=population.name,
        **parts,
        total=sum(parts.values()),
        shares=EnergyShares(of_spikes=of_spikes, saved_held=held),
    )


def connection_memory(
    connection: ConnectionCount, population: PopulationCount, table: CostTable
) -> float:
    """Joules of a connection's memory accesses and address computations.

    A spike is read from a queue. Each operation reads its weight and computes an
    address. An operation of a spike reads and writes a potential; an operation of a
    pixel reads the pixel. A convolution places its window with two multiplications.

    Source: Lemaire et al. 2022, arXiv:2210.13107, equations 5, 7 to 10, 14 to 17, as
    numbered and corrected in their group's own code, qualia-plugin-snn.
    Differs: exact counts, with borders and strides, replace spikes x kernel size; a
    convolution's address is computed for every operation, as in the paper.
    """
    memory = table.memory
    if memory is None or table.address_ac is None or table.address_mac is None:
        return 0.0
    each = memory.access(population.weights) + table.address_ac.joules
    if connection.kind == "AC":
        each += 2 * memory.access(population.neurons)
        event = memory.access(memory.queue_messages)
        event += 2 * table.address_mac.joules if connection.convolution else 0.0
        return connection.operations * each + connection.events * event
    return connection.operations * (each + memory.access(connection.source_size))


def neuron_memory(population: PopulationCount, table: CostTable) -> tuple[float, float]:
    """Joules of (writing spikes to the queue, memory accesses of neuron updates)."""
    memory = table.memory
    if memory is None:
        return 0.0, 0.0
    step = 2 * memory.access(population.neurons)
    if population.biases:
        step += memory.access(population.biases)
    queue = population.spikes * memory.access(memory.queue_messages)
    return queue, population.updates * step


def pooled_dense(
    counts: Counts, layers: Iterable[LayerEnergy], table: CostTable
) -> float | None:
    """Joules with pools as separate stages; None if they are not modeled."""
    if counts.pooled_dense is None or table.memory is not None:
        return None
    price = {"AC": table.ac.joules, "MAC": table.mac.joules}
    neurons = sum(layer.updates + layer.spikes for layer in layers)
    return neurons + sum(s.operations * price[s.kind] for s in counts.pooled_dense)
