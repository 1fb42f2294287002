"""Targets that compile a network's C sources and run all inputs in one process.

The sources are those of a folder, or are written for the graph. They are compiled with
STARS_RECORD, so that the program `record.c` sees every layer after each step.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.c.folder import (
    FORMAT,
    NAME,
    VERSION,
    check_options,
    is_identifier,
    plan_digest,
    write_network,
)
from export.c.links import channels_last
from export.c.program import program_of
from stars.errors import FormatError, MissingDependencyError, TargetError
from stars.files.json_toml import parse_json
from stars.files.writing import write_text
from stars.graph.nodes import Array
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from stars.grid.lowering import lower
from stars.grid.plan import STATE_SHIFT, IntegerPlan
from targets.c.supervised import run_program
from targets.loihi.emulator import integer_inputs

RECORD = Path(__file__).with_name("record.c")
COMPILERS = ("cc", "gcc", "clang")
COMPILE_SECONDS = 600.0
RUN_SECONDS = 3600.0
FLAGS = ("-std=c99", "-O2", "-DSTARS_RECORD")


@dataclass
class Compiled:
    """A program in a temporary folder, for one graph.

    Args:
        graph: that it computes.
        plan: of the graph.
        folder: with the program; removed with this object.
    """

    graph: SpikingGraph
    plan: IntegerPlan
    folder: Path

    def __post_init__(self) -> None:
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


@dataclass
class CTarget:
    """The target that runs compiled C on this machine.

    Args:
        path: a folder of C sources; None writes those of the graph.
        flags: of the compiler.
        seconds: time limit of a run.
    """

    path: Path | None = None
    flags: tuple[str, ...] = FLAGS
    seconds: float = RUN_SECONDS
    name: str = "c"
    description: str = "the exported C sources, compiled for this machine: integers"
    chunk: int = 200
    _last: Compiled | None = field(default=None, repr=False)

    def unavailable(self) -> str | None:
        """Why nothing can be compiled, with the remedy; None if it can."""
        try:
            compiler()
        except MissingDependencyError as error:
            return str(error)
        return None

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """The trace of the program on inputs [T, B, *input shape].

        A next call with the same graph reuses the compiled program.

        Args:
            graph: the network.
            inputs: of the network.
            forced: the spikes of every layer are replaced by those of this trace.

        Raises:
            GraphError, LimitError, UnsupportedNodeError: the graph has no C.
            DataError: an input is off the input's grid.
            FormatError: the folder has no sources, or those of another network.
            MissingDependencyError: there is no compiler.
            TargetError: the compiler or the program failed.
        """
        inputs = check_inputs(graph, inputs)
        if self._last is None or self._last.graph is not graph:
            self._last = self.compile(graph)
        plan, folder = self._last.plan, self._last.folder
        steps, batch = inputs.shape[:2]
        given = stream(plan, inputs, forced)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            held = plan.input_graded and inputs.strides[0] == 0
            numbers = (batch, steps, int(held), int(forced is not None))
            self.execute(folder, Path(place), given, [str(n) for n in numbers])
            return read_trace(plan, Path(place) / "out", steps, batch)

    def compile(self, graph: SpikingGraph) -> Compiled:
        """The compiled program of the sources at `path`, or of new ones."""
        check_options(graph)
        plan = lower(graph)
        compiled = Compiled(graph, plan, Path(tempfile.mkdtemp(prefix="stars-c-")))
        if self.path is None:
            sources, name = compiled.folder, NAME
            write_network(program_of(plan, {}), graph.encoding, sources, name)
        else:
            sources, name = self.path, network_name(self.path, plan)
        record = compiled.folder / "record.c"
        text = RECORD.read_text(encoding="utf-8").replace("NETWORK", name)
        write_text(record, text)
        encode = sources / "encode.c"
        files = [sources / f"{name}.c", *([encode] if encode.exists() else []), record]
        self.build(compiled.folder, [file.absolute() for file in files])
        return compiled

    def build(self, folder: Path, files: list[Path]) -> None:
        """Compile `files` to the program in `folder`; the first is the network."""
        command: list[str | Path] = [*self.compiler(), *self.flags]
        command += ["-iquote", files[0].parent, *files, "-o", folder / "program"]
        run_program(command, folder, "the C compiler", COMPILE_SECONDS)

    def compiler(self) -> list[str | Path]:
        """The command of the compiler."""
        return [*compiler()]

    def execute(
        self, folder: Path, place: Path, given: bytes, numbers: list[str]
    ) -> None:
        """Run the program on `given`; it writes `out` in `place`."""
        run_program(
            [folder / "program", "-", "out", *numbers],
            place,
            f"target '{self.name}': the program",
            self.seconds,
            given,
        )


def compiler() -> list[str]:
    """The command of a C compiler: that of the system, or that of ziglang.

    Raises:
        MissingDependencyError: there is none.
    """
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    if find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise MissingDependencyError(
        f"no C compiler ({', '.join(COMPILERS)}) on PATH; install one, or run"
        " pip install 'stars-snn[c]'"
    )


def network_name(folder: Path, plan: IntegerPlan) -> str:
    """The name in the manifest of C sources, which must be those of `plan`.

    Raises:
        FormatError: it is no folder of C sources, or of another network.
    """
    path = folder / "manifest.json"
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
        format_, version, name, digest = (
            manifest[key] for key in ("format", "version", "name", "plan")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"'{folder}': no folder of C sources with a manifest.json ({error}); write"
            " one with 'stars export --target c'"
        ) from None
    if format_ != FORMAT or version != VERSION or not is_identifier(name):
        raise FormatError(
            f"'{path}': format {format_!r}, version {version!r}, name {name!r};"
            f" expected {FORMAT!r}, {VERSION} and an identifier: export it again"
        )
    if digest != plan_digest(plan):
        raise FormatError(
            f"'{folder}': C sources of another network; export this one again"
        )
    return str(name)


def stream(plan: IntegerPlan, inputs: Array, forced: Trace | None) -> bytes:
    """What `record.c` reads: inputs, and after those of a step the forced spikes."""
    steps, batch = inputs.shape[:2]
    q = integer_inputs(plan, inputs).astype(np.int8)
    if plan.input_graded and inputs.strides[0] == 0:
        q = q[:1]
    first: list[NDArray[np.int8]] = [q]
    if forced is not None:
        for population in plan.populations:
            spikes = np.zeros((steps, batch, len(population.bias)), np.int8)
            if population.spiking:
                given = forced.spikes[population.name].reshape(spikes.shape)
                spikes = given[..., channels_last(population.shape)].astype(np.int8)
            first.append(spikes)
    rows = []
    for b in range(batch):
        for t in range(steps):
            rows += [part[t, b] for part in first if t < len(part)]
    return np.concatenate(rows).tobytes()


def read_trace(plan: IntegerPlan, path: Path, steps: int, batch: int) -> Trace:
    """The records of `record.c`, in volts.

    Raises:
        TargetError: the file has another size.
    """
    sizes = [len(p.bias) for p in plan.populations]
    records = np.fromfile(path, np.uint8)
    if records.size != batch * steps * 5 * sum(sizes):
        raise TargetError(f"'{path}' has {records.size} bytes; the run is incomplete")
    records = records.reshape(batch, steps, -1).swapaxes(0, 1)
    spikes, membranes, start = {}, {}, 0
    for population, size in zip(plan.populations, sizes, strict=True):
        fired = records[..., start : start + size]
        v = np.ascontiguousarray(records[..., start + size : start + 5 * size]).view(
            "<i4"
        )
        start += 5 * size
        back = np.argsort(channels_last(population.shape))
        shape = (steps, batch, *population.shape)
        if population.spiking:
            spikes[population.name] = fired[..., back].reshape(shape).astype(np.bool_)
        volts = np.ldexp(v[..., back], population.exponent - STATE_SHIFT)
        membranes[population.name] = volts.reshape(shape) + population.offset
    return Trace(spikes, membranes, plan.populations[-1].name)
