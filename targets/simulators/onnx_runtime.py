"""ONNX Runtime as a target: runs the exported file, or exports the graph and runs it.

Names, initial membranes and readout are read from the file. The file runs twice:
unchanged, which gives its users' results, and with every layer's spikes and membranes
tapped (`targets.simulators.onnx_taps`).
Listing the target imports no onnxruntime; running it does.
"""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.onnx_operators import onnx
from export.to_onnx import FORMAT, write
from stars.errors import DataError, FormatError, MissingDependencyError, TargetError
from stars.files.json_toml import parse_json
from stars.graph.nodes import Array
from stars.graph.reference import check_inputs
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import Trace
from targets.simulators.onnx_check import check_file
from targets.simulators.onnx_taps import (
    FORCED,
    MEMBRANES,
    SPIKES,
    at_step,
    spiking,
    tapped,
)

REMEDY = "pip install 'stars-snn[onnx]'"
LEVELS = {  # of the runtime's optimizations
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
# Converts int8 weights to float32 once at load time, not at every step.
WEIGHTS_ONCE = ("session.disable_quant_qdq", "1")
MOST_VALUES = 2**28  # of one layer's membranes
ERRORS_ONLY = 3  # lowest severity that the runtime logs
ENTRIES = {"stars_format", "form", "initial_state", "readout"}  # required metadata


class OnnxTarget:
    """The target that runs ONNX Runtime on the CPU.

    Args:
        path: the exported file; None exports the graph to a temporary file.
    """

    name = "onnx"
    description = "ONNX Runtime on the exported model: float32"
    chunk = 250

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    def unavailable(self) -> str | None:
        """Missing packages, and the command that installs them; None if complete."""
        missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
        return f"{', '.join(missing)} not installed; run {REMEDY}" if missing else None

    def run(
        self, graph: SpikingGraph, inputs: Array, forced: Trace | None = None
    ) -> Trace:
        """The trace of the file on inputs [T, B, *input shape].

        Args:
            graph: exported if there is no file.
            inputs: of the network.
            forced: every layer reads its input spikes from this trace, see `run_file`.

        Raises:
            DataError: the inputs do not fit the network.
            FormatError: the file is missing, damaged or of another tool.
            UnsupportedNodeError: names every node without ONNX operators.
            TargetError: ONNX Runtime failed.
        """
        inputs = check_inputs(graph, inputs)
        if self.path is not None:
            return run_file(self.path, inputs, forced=forced)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            write(graph, path, golden=False)
            return run_file(path, inputs, forced=forced)


def run_file(
    path: Path,
    inputs: Array,
    *,
    level: str = "all",
    threads: int = 0,
    forced: Trace | None = None,
) -> Trace:
    """The trace of a file that stars exported, in any form and with any outputs.

    The output and the last membranes come from the unchanged file, all other values
    from the tapped copy.

    Args:
        path: of the file.
        inputs: [T, B, *input shape].
        level: optimization level of the runtime, a key of `LEVELS`.
        threads: of one operator; 0 lets the runtime decide.
        forced: every layer reads its input spikes from this trace; then only the
            tapped copy runs.

    Raises:
        DataError: the inputs do not fit the file.
        FormatError: the file is missing, damaged, of another tool, or lacks the values
            of a layer.
        TargetError: ONNX Runtime failed.
    """
    session, entries = open_file(path, level=level, threads=threads)
    model = onnx().load(str(path))
    try:
        fed = () if forced is None else spiking(model, entries["form"])
        spikes = {} if forced is None else {name: forced.spikes[name] for name in fed}
        shapes = {name: values.shape[2:] for name, values in spikes.items()}
        copy = tapped(model, entries["form"], shapes)
    except FormatError as error:
        raise FormatError(f"'{path}': {error}") from None
    taps = new_session(copy.SerializeToString(), path, level, threads)
    trace = Program(path, taps, entries).trace(inputs, spikes)
    if forced is None:
        results = Program(path, session, entries).results(inputs, {})
        try:
            put_results(trace, results)
        except FormatError as error:
            raise FormatError(f"'{path}': {error}") from None
    return trace


def put_results(trace: Trace, results: Mapping[str, NDArray[Any]]) -> None:
    """Write the results of the unchanged file into a trace.

    Raises:
        FormatError: the output has another shape than the last layer.
    """
    for name, last in of_kind(results, "state_out/").items():
        membranes = trace.membranes.get(name)
        if membranes is not None and membranes.shape[1:] == last.shape:
            membranes[-1] = last
    spiking = trace.readout in trace.spikes
    last = (trace.spikes if spiking else trace.membranes)[trace.readout]
    output = results["output"]
    if output.shape != last.shape:
        raise FormatError(
            f"its output has shape {output.shape}, the layer {trace.readout!r} that it"
            f" should be {last.shape}"
        )
    last[:] = output != 0 if spiking else output


@dataclass(frozen=True)
class Program:
    """A file in a session of onnxruntime.

    Args:
        path: of the file, for messages.
        session: of the file, or of its tapped copy.
        entries: the file's metadata.
    """

    path: Path
    session: Any
    entries: Mapping[str, str]

    def trace(self, inputs: Array, forced: Mapping[str, NDArray[Any]]) -> Trace:
        """The trace from the taps."""
        results = self.results(inputs, forced)
        membranes = of_kind(results, MEMBRANES)
        return Trace(
            of_kind(results, SPIKES),
            {name: v.astype(np.float64) for name, v in membranes.items()},
            self.entries["readout"],
        )

    def results(
        self, inputs: Array, forced: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """Every output by name: [T, B, ...], states [B, ...] after the last step.

        Raises:
            DataError: the inputs do not fit the file.
            TargetError: ONNX Runtime failed.
        """
        check_arriving(self.session, inputs, self.entries["form"])
        rows = {"input": inputs.astype(np.float32)}
        rows |= {f"{FORCED}{n}": v.astype(np.float32) for n, v in forced.items()}
        states = first_states(self.session, self.entries, inputs.shape[1])
        if self.entries["form"] == "step":
            return self._looped(rows, states)
        declared = {value.name for value in self.session.get_inputs()}
        whole = {name: values for name, values in rows.items() if name in declared}
        apart = {
            at_step(name, t): values
            for name, parts in rows.items()
            if name not in declared
            for t, values in enumerate(parts)
        }
        return stacked(self._run({**whole, **apart, **states}))

    def _looped(
        self, rows: Mapping[str, NDArray[Any]], states: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """The results of a one-step file, run step by step on inputs [T, B, ...]."""
        steps = []
        for t in range(len(rows["input"])):
            now = {
                name if name == "input" else at_step(name, 0): values[t]
                for name, values in rows.items()
            }
            found = stacked(self._run({**now, **states}))
            last = of_kind(found, "state_out/")
            states = {f"state/{name}": values for name, values in last.items()}
            steps.append({**found, "output": found["output"][None]})
        return {
            name: last
            if name.startswith("state_out/")
            else np.concatenate([row[name] for row in steps])
            for name, last in steps[-1].items()
        }

    def _run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [output.name for output in self.session.get_outputs()]
        try:
            results = self.session.run(names, arrays)
        except failures() as error:
            raise TargetError(
                f"target 'onnx': '{self.path}' does not run", str(error)
            ) from None
        return dict(zip(names, results, strict=True))


def open_file(
    path: Path, *, level: str = "all", threads: int = 0
) -> tuple[Any, dict[str, str]]:
    """(onnxruntime session, metadata) of a file that stars exported.

    Raises:
        FormatError: the file is missing, damaged, of another tool or a newer version.
        MissingDependencyError: onnxruntime is not installed.
    """
    check_file(path)
    session = new_session(str(path), path, level, threads)
    try:
        entries = dict(session.get_modelmeta().custom_metadata_map)
    except ValueError as error:
        raise FormatError(f"'{path}': not a readable ONNX file ({error})") from None
    if not entries.keys() >= ENTRIES or not entries["stars_format"].isdecimal():
        raise FormatError(
            f"'{path}': an ONNX file of another tool, without the metadata that a run"
            " needs; write one with 'stars export --target onnx'"
        )
    if "output" not in {value.name for value in session.get_outputs()}:
        raise FormatError(f"'{path}': has no output 'output'; export it again")
    version = int(entries["stars_format"])
    if version > FORMAT:
        raise FormatError(
            f"'{path}': has format {version} of a newer stars-snn; this version reads"
            f" formats up to {FORMAT}: update stars-snn"
        )
    return session, entries


def new_session(model: str | bytes, path: Path, level: str, threads: int) -> Any:
    """A session of onnxruntime.

    Args:
        model: name of a file, or its content.
        path: of the file; used in the message.
        level: see `run_file`.
        threads: see `run_file`.

    Raises:
        FormatError: the file is missing or damaged.
        MissingDependencyError: onnxruntime is not installed.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*WEIGHTS_ONCE)
    options.graph_optimization_level = getattr(
        runtime.GraphOptimizationLevel, LEVELS[level]
    )
    unreadable: tuple[type[Exception], ...] = (*failures(), ValueError)
    try:
        return runtime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except unreadable as error:
        raise FormatError(f"'{path}': not a readable ONNX file ({error})") from None


def first_states(
    session: Any, entries: Mapping[str, str], batch: int
) -> dict[str, NDArray[np.float32]]:
    """The membranes before the first step, from the file, by input name.

    Raises:
        FormatError: they are missing, do not fit, or are too many.
    """
    states = {}
    try:
        initial = parse_json(entries["initial_state"])
        for declared in session.get_inputs():
            if declared.name.startswith("state/"):
                value = np.asarray(initial[declared.name.removeprefix("state/")])
                shape = (batch, *declared.shape[1:])
                if math.prod(shape) > MOST_VALUES:
                    raise ValueError(f"{declared.name} has {shape} values")
                states[declared.name] = np.broadcast_to(value, shape).astype(np.float32)
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(
            f"the file's initial membranes do not fit its inputs: {error}"
        ) from error
    return states


def check_arriving(session: Any, inputs: Array, form: str) -> None:
    """Refuse inputs [T, B, ...] that do not fit a file, whose free axes have names.

    Raises:
        DataError: they have another shape, no step, no sample, or NaN or infinity.
    """
    shapes = {i.name: i.shape for i in session.get_inputs()}
    declared: list[Any] = shapes.get("input", [])
    expected = ["T", *declared] if form == "step" else declared
    fits = len(expected) == inputs.ndim and all(
        isinstance(want, str) or want == have
        for want, have in zip(expected, inputs.shape, strict=True)
    )
    if not fits or math.prod(inputs.shape[:2]) < 1:
        raise DataError(
            f"inputs have shape {inputs.shape}, the file takes {expected}, with at"
            " least one step and one sample"
        )
    if not np.isfinite(inputs).all():
        raise DataError("inputs hold NaN or infinity; every value must be finite")


def stacked(results: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The results, with those of single steps stacked along time."""
    whole = dict(results)
    for name in [name for name in whole if name.endswith(at_step("", 0))]:
        base = name.removesuffix(at_step("", 0))
        parts, t = [], 0
        while at_step(base, t) in whole:
            parts.append(whole.pop(at_step(base, t)))
            t += 1
        whole[base] = np.stack(parts)
    return whole


def of_kind(results: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The results whose name begins with `prefix`, by the rest of the name."""
    return {
        name.removeprefix(prefix): value
        for name, value in results.items()
        if name.startswith(prefix)
    }


def onnxruntime() -> Any:
    """The package onnxruntime, imported on first use.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            f"target 'onnx': onnxruntime is not installed; run {REMEDY}"
        ) from error


def failures() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime, which have no common base class."""
    module = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = vars(module).values()
    return tuple(v for v in found if isinstance(v, type) and issubclass(v, Exception))
