"""Two targets: real Lava in floating point, and bit-accurate to the chip.

Lava runs in its own Python. A job folder goes in, and memory-mapped records come out.
Both targets start from the same integer plan and quantize nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stars.errors import MissingDependencyError, UnsupportedNodeError
from stars.graph.nodes import Array, Neuron
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan import IntegerPlan
from stars.grid.plan_file import write_plan
from targets.lava.environment import lava_python
from targets.lava.jobs import Job, Mode, job_folder, read_trace
from targets.lava.supervision import Patience, run_worker


@dataclass(frozen=True)
class LavaTarget:
    """Lava's Sparse, DelaySparse and LIFReset; every layer's spikes and membranes.

    Args:
        name, description: as `stars targets` prints them.
        mode: Lava's process models to use.
        chunk: inputs per worker process; starting a worker takes seconds.
        patience: time limits of a worker.
    """

    name: str
    description: str
    mode: Mode
    chunk: int = 128
    patience: Patience = field(default_factory=Patience)

    def unavailable(self) -> str | None:
        """Why Lava cannot run here, with the command that fixes it; None if it can."""
        try:
            lava_python()
        except MissingDependencyError as error:
            return str(error)
        return None

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape], from the initial state.

        Raises:
            GraphError: the graph is not on the grid; see `stars.grid.lower`.
            LimitError: a number does not fit the chip.
            UnsupportedNodeError: a node that has no integer form.
            DataError: the inputs are not what the graph takes.
            MissingDependencyError: Lava's environment is missing.
            TargetError: the worker failed, died or hung; with the end of its log.
        """
        inputs = check_inputs(graph, inputs)
        if self.mode == "float":
            check_exact_decay(graph)
        plan = lower(graph)

        def put(job: Job) -> None:
            write_plan(job.folder / "plan.npz", plan)

        return run_job(plan, inputs, self.mode, put, self.patience)


def check_exact_decay(graph: SpikingGraph) -> None:
    """Refuse truncating decays, which Lava's floating-point models do not have.

    Raises:
        UnsupportedNodeError: names every node whose decay truncates.
    """
    nodes = graph.nodes.items()
    found = [n for n, v in nodes if isinstance(v, Neuron) and v.decay == "truncate"]
    if found:
        raise UnsupportedNodeError(
            f"target 'lava-float': the nodes {found} truncate their decay; Lava's"
            " floating-point models cannot truncate: choose another target"
        )


def lava_float() -> LavaTarget:
    """The target that runs Lava's float64 process models, in volts."""
    return LavaTarget(
        name="lava-float",
        description="Lava 0.10, process models in floating point",
        mode="float",
    )


def lava_fixed() -> LavaTarget:
    """The target that runs Lava's bit-accurate process models, in integers."""
    return LavaTarget(
        name="lava-fixed",
        description="Lava 0.10, process models bit-accurate to Loihi 2",
        mode="fixed",
    )


def run_netx(
    net: Path, plan: IntegerPlan, inputs: Array, patience: Patience | None = None
) -> Trace:
    """The trace of a netx HDF5 file, loaded by lava-dl's own netx and run by Lava.

    Args:
        net: the file, as `export.to_netx.write` writes it.
        plan: of the same graph, as that function returns it. It names and scales the
            records; the network itself is read from the file.
        inputs: [T, B, *input shape].
        patience: time limits of the worker.

    Raises:
        DataError, MissingDependencyError, TargetError: as `LavaTarget.run`.
    """

    def put(job: Job) -> None:
        shutil.copyfile(net, job.folder / "net.net")

    return run_job(plan, inputs, "netx", put, patience or Patience())


def run_job(
    plan: IntegerPlan,
    inputs: Array,
    mode: Mode,
    put_network: Callable[[Job], None],
    patience: Patience,
    *,
    currents: bool = False,
) -> Trace:
    """The trace that one worker process makes from one job folder.

    `put_network` adds the network to the folder. With `currents` the synaptic currents
    of all populations are recorded too.
    """
    python = lava_python()
    with job_folder(plan, inputs, mode, currents=currents) as job:
        put_network(job)
        run_worker(python, job.folder, job.shared_memory_prefix, patience)
        return read_trace(job)
