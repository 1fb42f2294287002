"""Price counts under a cost table, beside networks that do without spikes.

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

PER_IMAGE = "_joules_per_image"  # ends the field of a network without spikes


class EnergyShares(Record):
    """Joules that are part of a layer's total, over all images.

    Args:
        of_spikes: what is proportional to the number of spikes.
        saved_held: what a first layer saves that computes a held image once.
    """

    of_spikes: float = 0.0
    saved_held: float = 0.0


class LayerEnergy(Record):
    """Joules of one population and of the connections into it, over all images.

    Args:
        name: of the population.
        ac, mac: operations of spikes; of the image, at every step.
        updates, spikes: of its neurons.
        memory: accesses and addresses; 0 where the table does not price them apart.
        total: the sum.
        shares: of the total.
    """

    model_config = ConfigDict(extra="allow")  # a later version may price more parts

    name: str
    ac: float = 0.0
    mac: float = 0.0
    updates: float = 0.0
    spikes: float = 0.0
    memory: float = 0.0
    total: float
    shares: EnergyShares = EnergyShares()

    def parts(self) -> dict[str, float]:
        """Joules that add up to the total, by part; those that are 0 left out."""
        return {
            name: value
            for name, value in self
            if name != "total" and isinstance(value, float | int) and value
        }


class EnergyEstimate(Record):
    """Counts under one cost table.

    Args:
        table: the costs and their sources.
        joules: over all images, the image multiplied at every step.
        joules_per_image_held: with the held image multiplied once.
        joules_per_image_pooled_dense: under that lowering; None without a pool, or
            where the table prices memory, whose accesses are modeled for the other
            one alone.
        alternatives: what would do the same without spikes.
        layers: in execution order.
    """

    model_config = ConfigDict(extra="allow")  # a later version may price more networks

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
        """Its tables did not name their process."""
        return {"process": "", **table} if isinstance(table, Mapping) else table

    @property
    def others(self) -> dict[str, float]:
        """Joules per image of the networks without spikes that are priced, by name."""
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
    """Joules of each layer under one cost table, and of networks without spikes."""
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
    """Joules of one population and of what feeds it."""
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
    """Joules of a connection's accesses and addresses.

    A spike is read from a queue. Each operation reads its weight and computes an
    address; a spike's operation reads and writes the potential it adds to, a pixel's
    reads the pixel. Where a convolution lies in between, two multiplications place the
    window.

    Source: Lemaire et al. 2022, arXiv:2210.13107, equations 5, 7 to 10, 14 to 17 as
    their group's own code, qualia-plugin-snn, numbers and corrects them.
    Differs: exact counts stand for spikes x kernel size, borders and strides included;
    a convolution's address is computed for every operation, as the paper has it.
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
    """Joules of (writing spikes to the queue, what every step of a neuron accesses)."""
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
    """Joules with pools as stages of their own."""
    if counts.pooled_dense is None or table.memory is not None:
        return None
    price = {"AC": table.ac.joules, "MAC": table.mac.joules}
    neurons = sum(layer.updates + layer.spikes for layer in layers)
    return neurons + sum(s.operations * price[s.kind] for s in counts.pooled_dense)
