"""ONNX Runtime as a target: the graph's Scan form, written to a file and run from it.

Everything that a run needs is read from the file: names, initial membranes, readout.
Listing the target imports no onnxruntime; running it does.
"""

from __future__ import annotations

import importlib
import json
import math
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.to_onnx import FORMAT, write
from stars.errors import DataError, FormatError, MissingDependencyError, TargetError
from stars.graph import SpikingGraph
from stars.nodes import Array
from stars.reference import check_inputs
from stars.trace import Trace

REMEDY = "pip install 'stars-snn[onnx]'"
LEVELS = {  # how much the runtime fuses and rearranges
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
# Turns int8 weights into float32 when the file is loaded, not at every step.
WEIGHTS_ONCE = ("session.disable_quant_qdq", "1")
MOST_VALUES = 2**28  # of one layer's membranes
ERRORS_ONLY = 3  # the severity from which the runtime logs
ENTRIES = {"stars_format", "form", "initial_state", "readout"}  # that a run needs


class OnnxTarget:
    """ONNX Runtime on the CPU, behind the targets' protocol."""

    name = "onnx"
    description = "ONNX Runtime on the exported Scan model, int8 weights: float32"
    chunk = 250

    def unavailable(self) -> str | None:
        """What is not installed, with the command that installs it; None if all is."""
        missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
        return f"{', '.join(missing)} not installed; run {REMEDY}" if missing else None

    def run(self, graph: SpikingGraph, inputs: Array) -> Trace:
        """The trace of `graph` on inputs [T, B, *input shape].

        Raises:
            DataError: the inputs are not what the graph takes.
            UnsupportedNodeError: nodes without ONNX operators, all of them.
            TargetError: ONNX Runtime failed.
        """
        inputs = check_inputs(graph, inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            write(graph, path, form="scan", record=True, golden=False)
            return run_file(path, inputs)


def run_file(
    path: Path, inputs: Array, *, level: str = "all", threads: int = 0
) -> Trace:
    """The trace of a Scan or unrolled file that was written with `record`.

    Args:
        path: of the file.
        inputs: [T, B, *input shape].
        level: how much the runtime optimises, a key of `LEVELS`.
        threads: of one operator; 0 leaves it to the runtime.

    Raises:
        DataError: the inputs are not what the file takes.
        FormatError: no such file, damaged, foreign, or without the trace.
        TargetError: ONNX Runtime failed.
    """
    session, entries = open_file(path, level=level, threads=threads)
    names = [output.name for output in session.get_outputs()]
    if entries["form"] == "step" or not of_kind(dict.fromkeys(names), "membranes/"):
        raise FormatError(
            f"'{path}': form {entries['form']} with outputs {names} gives no trace;"
            " write it in the form scan or unroll, with record"
        )
    check_arriving(session, inputs)
    arrays = {"input": inputs.astype(np.float32)}
    arrays |= first_states(session, entries, inputs.shape[1])
    try:
        results = dict(zip(names, session.run(names, arrays), strict=True))
    except failures() as error:
        raise TargetError(f"target 'onnx': '{path}' does not run", str(error)) from None
    return Trace(
        of_kind(results, "spikes/"),
        {n: v.astype(np.float64) for n, v in of_kind(results, "membranes/").items()},
        entries["readout"],
    )


def open_file(
    path: Path, *, level: str = "all", threads: int = 0
) -> tuple[Any, dict[str, str]]:
    """(The onnxruntime session of a file of ours, its metadata).

    Raises:
        FormatError: no such file, damaged, foreign, or of a newer version.
        MissingDependencyError: onnxruntime is not installed.
    """
    runtime = onnxruntime()
    check_file(path)
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*WEIGHTS_ONCE)
    options.graph_optimization_level = getattr(
        runtime.GraphOptimizationLevel, LEVELS[level]
    )
    unreadable: tuple[type[Exception], ...] = (*failures(), ValueError)
    try:
        session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        entries = dict(session.get_modelmeta().custom_metadata_map)
    except unreadable as error:
        raise FormatError(f"'{path}': not a readable ONNX file ({error})") from None
    if not entries.keys() >= ENTRIES or not entries["stars_format"].isdecimal():
        raise FormatError(
            f"'{path}': an ONNX file of another tool: it does not say what its inputs"
            " mean; write one with 'stars export --target onnx'"
        )
    version = int(entries["stars_format"])
    if version > FORMAT:
        raise FormatError(
            f"'{path}': its format is {version}, of a newer version of stars-snn;"
            f" this one reads up to {FORMAT}: update stars-snn"
        )
    return session, entries


def check_file(path: Path) -> None:
    """Refuse a file that is no ONNX, or whose tensors lie in other files.

    Raises:
        FormatError: it is, or it does not exist.
        MissingDependencyError: onnx is not installed.
    """
    onnx = importlib.import_module("onnx")
    decode_error = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise FormatError(
            f"'{path}': not a readable ONNX file ({error.strerror})"
        ) from None
    except (decode_error, RecursionError) as error:
        raise FormatError(f"'{path}': not a readable ONNX file ({error})") from None
    if is_external(model):
        raise FormatError(
            f"'{path}': keeps tensors in other files, which are not read from files of"
            " others; save it with its tensors inside"
        )


def is_external(message: Any) -> bool:
    """Whether a tensor anywhere in a protobuf message lies in another file."""
    for field, value in message.ListFields():
        if field.name == "external_data" or (field.name, value) == ("data_location", 1):
            return True
        if field.message_type is not None:
            several = value if hasattr(value, "append") else [value]
            if any(is_external(part) for part in several):
                return True
    return False


def first_states(
    session: Any, entries: dict[str, str], batch: int
) -> dict[str, NDArray[np.float32]]:
    """The membranes before the first step, as the file says, by input name.

    Raises:
        FormatError: it does not, or they are too many.
    """
    states = {}
    try:
        initial = json.loads(entries["initial_state"])
        for declared in session.get_inputs():
            if declared.name.startswith("state/"):
                value = np.asarray(initial[declared.name.removeprefix("state/")])
                shape = (batch, *declared.shape[1:])
                if math.prod(shape) > MOST_VALUES:
                    raise ValueError(f"{declared.name} has {shape} values")
                states[declared.name] = np.broadcast_to(value, shape).astype(np.float32)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(
            f"the file's initial membranes do not fit its inputs: {error}"
        ) from error
    return states


def check_arriving(session: Any, inputs: Array) -> None:
    """Refuse inputs that the file does not take; a free axis is a name there.

    Raises:
        DataError: another shape, no step, no sample, or NaN or infinity.
    """
    inputs_of = {i.name: i.shape for i in session.get_inputs()}
    declared: list[Any] = inputs_of.get("input", [])
    fits = len(declared) == inputs.ndim and all(
        isinstance(want, str) or want == have
        for want, have in zip(declared, inputs.shape, strict=True)
    )
    if not fits or math.prod(inputs.shape[:2]) < 1:
        raise DataError(
            f"inputs have shape {inputs.shape}, the file takes {declared}, with at"
            " least one step and one sample"
        )
    if not np.isfinite(inputs).all():
        raise DataError("inputs hold NaN or infinity; every value must be finite")


def of_kind(results: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The results whose name begins with `prefix`, by the rest of it."""
    return {
        name.removeprefix(prefix): value
        for name, value in results.items()
        if name.startswith(prefix)
    }


def onnxruntime() -> Any:
    """The package onnxruntime, imported when it is needed.

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
    """What onnxruntime raises: plain Exceptions without a base of their own."""
    module = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = vars(module).values()
    return tuple(v for v in found if isinstance(v, type) and issubclass(v, Exception))
