"""fit_program(graph, limits) -> ProgramFit: whether C fits a microcontroller.

Sizes are those that `stars export --target c` states. Operations are counted on the
golden inputs, so they depend on random images; `stars energy` counts them on real ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from export.c.program import Program, program_of
from export.c.values import stack_bytes
from export.golden import golden_inputs
from stars.graph import reference
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from targets.chip.fit import Fit, Violation
from targets.energy_model.counts import count
from targets.hardware.limits import MEMORIES, ChipLimits

CODE_BYTES = 16 * 1024  # bound of the code; `make cross-test` measures it


@dataclass(frozen=True, eq=False)
class ProgramFit(Fit):
    """The memory and operations of a network's C, and every limit that it exceeds.

    Args:
        limits: of a microcontroller.
        program: with the default kernels.
        operations: per image: accumulates of spikes, multiplications of a graded input
            (once for an image that is held) and updates of neurons.
        violations: every limit that is exceeded.
    """

    limits: ChipLimits
    program: Program
    operations: dict[str, float]
    violations: tuple[Violation, ...]

    @property
    def flash(self) -> int:
        """Bytes of constants and code."""
        return sum(layer.flash for layer in self.program.layers) + CODE_BYTES

    @property
    def ram(self) -> int:
        """Bytes of the state and the stack."""
        return self.program.ram + stack_bytes(self.program)

    @property
    def least_ms(self) -> float:
        """Milliseconds per image at one operation a cycle."""
        clock = self.limits.limits["clock_hz"].value
        return sum(self.operations.values()) / clock * 1e3

    def notes(self) -> list[str]:
        """The use of each memory, the operations, and assumptions."""
        flash, ram = (self.limits.limits[n].value for n in ("flash_bytes", "ram_bytes"))
        counts = (f"{value:,.0f} {name}" for name, value in self.operations.items())
        return [
            f"flash {self.flash:,} of {flash:,} bytes ({self.flash / flash:.0%}), with"
            f" at most {CODE_BYTES:,} of code",
            f"RAM {self.ram:,} of {ram:,} bytes ({self.ram / ram:.0%}), with"
            f" {stack_bytes(self.program):,} of stack",
            f"per random image {', '.join(counts)}: at least {self.least_ms:.3g} ms, at"
            " one operation a cycle",
            " ".join(self.limits.about.split()),
        ]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "ok": self.ok,
            "chip": self.limits.name,
            "title": self.limits.title,
            "about": self.limits.about,
            "limits": {n: asdict(limit) for n, limit in self.limits.limits.items()},
            "flash_bytes": self.flash,
            "ram_bytes": self.ram,
            "stack_bytes": stack_bytes(self.program),
            "operations": self.operations,
            "least_ms": self.least_ms,
            "layers": [
                {
                    "node": layer.population.name,
                    "kernels": [link.kernel for link in layer.links],
                    "sums": layer.sums,
                    "flash_bytes": layer.flash,
                    "ram_bytes": layer.ram,
                }
                for layer in self.program.layers
            ],
            "violations": [asdict(violation) for violation in self.violations],
        }


def fit_program(graph: SpikingGraph, limits: ChipLimits) -> ProgramFit:
    """The memory and operations of `graph` in C, and every limit that it exceeds.

    Raises:
        GraphError: the graph is off the grid.
        LimitError: its integers do not fit the plan.
        UnsupportedNodeError: a node that has no integer form.
    """
    plan = lower(graph)
    inputs = golden_inputs(graph)
    trace = reference.run(graph, inputs)
    counts = count(graph, [(inputs, trace)])
    operations = {"accumulates": 0, "multiplications": 0}
    for c in counts.connections:
        kind = "multiplications" if c.kind == "MAC" else "accumulates"
        operations[kind] += c.operations_held
    operations["updates"] = sum(p.updates for p in counts.populations)
    found = ProgramFit(
        limits,
        program_of(plan, trace.rates()),
        {name: value / counts.images for name, value in operations.items()},
        (),
    )
    values = {"flash_bytes": found.flash, "ram_bytes": found.ram}
    violations = tuple(
        exceeded(graph.output, name, value, limits)
        for name, value in values.items()
        if value > limits.limits[name].value
    )
    return ProgramFit(limits, found.program, found.operations, violations)


def exceeded(node: str, name: str, value: int, limits: ChipLimits) -> Violation:
    """The violation of one memory."""
    limit = limits.limits[name]
    source = " ".join(limit.source.split())
    text = (
        f"the network needs {name} of {value:,}, at most {limit.value:,}:"
        f" {MEMORIES[name]} [{source}]"
    )
    return Violation(node, name, value, limit.value, source, text)
