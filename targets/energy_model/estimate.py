"""Price counts under a cost table, beside networks that do without spikes.

Every comparison is within one table, hence on one process node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from targets.energy_model.alternatives import (
    NOT_AT_HAND,
    Alternative,
    Snn,
    Teacher,
    alternatives,
)
from targets.energy_model.counts import (
    ConnectionCount,
    Counts,
    PopulationCount,
)
from targets.hardware.costs import CostTable


@dataclass(frozen=True)
class LayerEnergy:
    """Joules of one population and of the connections into it, over all images.

    Args:
        name: of the population.
        ac, mac: operations of spikes; of the image, at every step.
        updates, spikes: of its neurons.
        memory: accesses and addresses; 0 where the table does not price them apart.
        of_spikes: what of all this is proportional to the number of spikes.
        saved_held: what a first layer saves that computes a held image once.
    """

    name: str
    ac: float
    mac: float
    updates: float
    spikes: float
    memory: float
    of_spikes: float
    saved_held: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.ac + self.mac + self.updates + self.spikes + self.memory

    def to_json(self) -> dict[str, Any]:
        """Plain values: parts that add up to the total, and shares of it."""
        parts = asdict(self)
        shares = {name: parts.pop(name) for name in ("of_spikes", "saved_held")}
        return {**parts, "total": self.total, "shares": shares}


@dataclass(frozen=True)
class EnergyEstimate:
    """Counts under one cost table.

    Args:
        table: the costs and their sources.
        images: inputs that the joules are for.
        layers: in execution order.
        pooled_dense: joules under that lowering; None without a pool, or where the
            table prices memory, whose accesses are modeled for the other one alone.
        alternatives: what would do the same without spikes.
        spike_rate: of the counts.
    """

    table: CostTable
    images: int
    layers: tuple[LayerEnergy, ...]
    pooled_dense: float | None
    alternatives: tuple[Alternative, ...]
    spike_rate: float

    @property
    def total(self) -> float:
        """Joules over all images, the image multiplied at every step."""
        return sum(layer.total for layer in self.layers)

    @property
    def held(self) -> float:
        """The same with the held image multiplied once."""
        return self.total - sum(layer.saved_held for layer in self.layers)

    @property
    def ann(self) -> float | None:
        """Joules of the ANN of the same topology; None where it is not priced."""
        return next(a.joules for a in self.alternatives if a.name == "ann")

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the table's numbers and sources."""
        pooled = self.pooled_dense
        return {
            "table": asdict(self.table),
            "joules": self.total,
            "joules_per_image": self.total / self.images,
            "joules_per_image_held": self.held / self.images,
            "joules_per_image_pooled_dense": None
            if pooled is None
            else pooled / self.images,
            **{
                f"{one.name}_joules_per_image".replace(" ", "_").replace("-", "_"): None
                if one.joules is None
                else one.joules / self.images
                for one in self.alternatives
            },
            "alternatives": [self._alternative(one) for one in self.alternatives],
            "layers": [layer.to_json() for layer in self.layers],
        }

    def _alternative(self, one: Alternative) -> dict[str, Any]:
        joules = one.joules
        return {
            "name": one.name,
            "bits": one.bits,
            "joules_per_image": None if joules is None else joules / self.images,
            "reason": one.reason,
            "snn_wins": None if joules is None else self.total < joules,
            "crossover_spike_rate": one.crossover,
        }


def estimate(
    counts: Counts, table: CostTable, teacher: Teacher = NOT_AT_HAND
) -> EnergyEstimate:
    """Joules of each layer under one cost table, and of networks without spikes."""
    layers = tuple(layer_energy(counts, p, table) for p in counts.populations)
    return EnergyEstimate(
        table=table,
        images=counts.images,
        layers=layers,
        pooled_dense=pooled_dense(counts, layers, table),
        alternatives=alternatives(counts, spiking(layers), table, teacher),
        spike_rate=counts.spike_rate,
    )


def spiking(layers: Iterable[LayerEnergy]) -> Snn:
    """What of the whole network's joules is proportional to its spikes."""
    both = [(layer.of_spikes, layer.total) for layer in layers]
    of_spikes = sum(part for part, _ in both)
    return Snn(of_spikes, sum(total for _, total in both) - of_spikes)


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
    return LayerEnergy(
        name=population.name,
        ac=ac,
        mac=mac,
        updates=population.active * table.update_active.joules
        + inactive * table.update_inactive.joules,
        spikes=spikes,
        memory=sum(access) + queue + steps,
        of_spikes=ac + spikes + by_spikes + queue,
        saved_held=held,
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
