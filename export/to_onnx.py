"""SpikingGraph -> ONNX, with the time loop in the file.

Three forms of the same step (`export.onnx_step`):

step     one step: the states are inputs and outputs, and the caller loops
scan     an ONNX Scan over the step: any T and any batch
unroll   the step written T times, for runtimes without loops

Values are [T, B, ...] in scan and unroll, [B, ...] in step; B is free in all forms:

input               float32, the graph's input
state/<node>        float32 [B, ...], a node's state before the first step: the membrane
                    of a neuron, current and membrane [B, 2, ...] of CubaLI and CubaLIF,
                    the past inputs [B, N, ...] of a Delay, newest first
state/<node>:last   float32 [B, ...], in a cycle: the node's output of the previous step
output              float32, the graph's output at each step
state_out/...       float32 [B, ...], the states after the last step. Passed to the next
                    chunk as state/..., they make a stream in chunks bit-exact to one
                    run
spikes/<node>       bool, only with `record`
membranes/<node>    float32 after the reset, only with `record`

The file's metadata_props describe it: see `metadata`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from export.golden import golden_hashes
from export.nir_metadata import RESET, decay_ratios, own_version
from export.onnx_nodes import KINDS
from export.onnx_operators import Constants, Step, int8, onnx
from export.onnx_step import StepValues, add_step, initial_states
from stars.errors import ConfigError, FormatError, guess
from stars.files.writing import atomic
from stars.graph.encoding import to_entries
from stars.graph.nodes import LI, LIF, Array, CubaLIF, Weighted
from stars.graph.spiking_graph import SpikingGraph

FORMAT = 1  # of names and metadata; readers refuse larger numbers
OPSET = (
    19  # the first that ONNX's ReferenceEvaluator runs; ONNX Runtime: 1.15 and later
)
OPSETS = range(18, 24)  # whose results the tests compare


def write(
    graph: SpikingGraph,
    path: Path,
    *,
    form: str = "scan",
    record: bool = False,
    golden: bool = True,
    opset: int = OPSET,
) -> None:
    """Write `graph` as an ONNX file, atomically.

    Args:
        graph: its weights become int8 on the grid, float32 off it.
        path: of the file.
        form: a key of `FORMS`.
        record: if true, spikes and membranes of every neuron node are outputs too.
        golden: if true, the file holds the hashes of the golden vectors, which costs a
            run of eight inputs.
        opset: version of ONNX's operators, in `OPSETS`.

    Raises:
        ConfigError: the form is unknown, or the opset is not in `OPSETS`.
        GraphError: the graph does not end in a node with a membrane.
        UnsupportedNodeError: some nodes have no operators; names all of them.
        MissingDependencyError: onnx is not installed.
        DataError: the path cannot be written.
        FormatError: a name is not valid in ONNX.
    """
    content = to_onnx(
        graph, form=form, record=record, golden=golden, opset=opset
    ).SerializeToString()
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def to_onnx(
    graph: SpikingGraph,
    *,
    form: str = "scan",
    record: bool = False,
    golden: bool = True,
    opset: int = OPSET,
) -> Any:
    """`graph` as an onnx.ModelProto that passes the full checker; see `write`."""
    if form not in FORMS:
        raise ConfigError(
            f"unknown form '{form}'{guess(form, FORMS)}; there are {', '.join(FORMS)}"
        )
    if opset not in OPSETS:
        raise ConfigError(
            f"opset is {opset}; allowed are {OPSETS[0]} to {OPSETS[-1]} (default:"
            f" {OPSET})"
        )
    graph.check_supported(KINDS, "ONNX export: no operator")
    entries = metadata(graph, form)
    if golden:
        entries["golden"] = json.dumps(golden_hashes(graph))
    helper = onnx().helper
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        FORMS[form](graph, record),
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
        producer_name="stars-snn",
        producer_version=entries["stars_version"],
    )
    helper.set_model_props(model, entries)
    try:
        onnx().checker.check_model(model, full_check=True)
    except onnx().checker.ValidationError as error:
        raise FormatError(f"ONNX export: not a valid model: {error}") from error
    return model


def weight_types(graph: SpikingGraph) -> str:
    """How the file stores the weights of a graph: as int8, as float32, or some each."""
    weighted = (n for n in graph.nodes.values() if isinstance(n, Weighted))
    fits = [int8(node.weight) is not None for node in weighted]
    if all(fits):
        return "int8 weights"
    return f"float32 weights ({sum(fits)} of {len(fits)} nodes int8)"


def metadata(graph: SpikingGraph, form: str) -> dict[str, str]:
    """The metadata that describe the file, as text by name.

    stars_format, stars_version   of these entries; of the distribution
    form, steps, dt               form of the file; T; seconds a step
    reset                         the discrete-time rule of every spiking neuron
    k                             dt / tau as exact ratios, by LIF and LI node (JSON)
    membrane_step                 volts to which a decay truncates, by LIF and CubaLIF
                                  node (JSON; null: the decay keeps every bit)
    encoding                      how images become the input (JSON; null: unknown)
    initial_state                 every state/... before the first step: one number, or
                                  nested lists of all values (JSON)
    readout                       the neuron node whose last membrane gives the class
    text                          the graph's own metadata (JSON)

    `to_onnx` adds `golden`, from `export.golden.golden_hashes` (JSON; null: off the
    grid, or not certified).
    """
    nodes = graph.nodes.items()
    lifs = {n: v for n, v in nodes if isinstance(v, LIF | LI)}
    ratios = {name: decay_ratios(graph.dt, node) for name, node in lifs.items()}
    steps = {n: v.membrane_step for n, v in nodes if isinstance(v, LIF | CubaLIF)}
    return {
        "stars_format": str(FORMAT),
        "stars_version": own_version(),
        "form": form,
        "steps": str(graph.steps),
        "dt": repr(float(graph.dt)),
        "reset": RESET,
        "k": json.dumps(ratios),
        "membrane_step": json.dumps(steps),
        "encoding": json.dumps(graph.encoding and to_entries(graph.encoding)),
        "initial_state": json.dumps(
            {name: plain(state) for name, state in initial_states(graph).items()}
        ),
        "readout": graph.readout,
        "text": json.dumps(dict(graph.metadata)),
    }


def plain(state: Array) -> Any:
    """A state as JSON values; one number if all are equal."""
    alike = (state == state.flat[0]).all()
    return float(state.flat[0]) if alike else state.tolist()


def step_form(graph: SpikingGraph, record: bool) -> Any:  # noqa: FBT001 - a table's row
    """One step; the caller loops."""
    constants = Constants()
    step = Step(graph, constants, "")
    states = state_names(graph)
    outputs = finished(step, add_step(step, "input", states), "", record=record)
    return model_graph(graph, constants, step.operators, "step", outputs)


def scan_form(graph: SpikingGraph, record: bool) -> Any:  # noqa: FBT001 - a table's row
    """An ONNX Scan whose body holds the step and its weights.

    Inside the body a runtime sees that the weights are constant and can optimize their
    layout. With weights outside the loop ONNX Runtime does not, and runs at half speed.
    """
    constants = Constants()
    step = Step(graph, constants, "step/")
    states = state_names(graph, "step/")
    values = add_step(step, "step/input", states)
    outputs = finished(step, values, "step/", record=record)
    inputs = [*state_names(graph).values(), "input"]
    shapes = value_shapes(graph)
    helper = onnx().helper
    body = helper.make_graph(
        [*constants.operators, *step.operators],
        "step",
        [tensor(name, shapes[name], (), "step/") for name in inputs],
        [tensor(name, shapes[name], (), "step/") for name in outputs],
        initializer=list(constants.initializers.values()),
    )
    scan = helper.make_node(
        "Scan",
        inputs,
        outputs,
        name="time",
        body=body,
        num_scan_inputs=1,
    )
    return model_graph(graph, Constants(), [scan], "scan", outputs, "T")


def unroll_form(graph: SpikingGraph, record: bool) -> Any:  # noqa: FBT001 - a row
    """T copies of the step, one after the other."""
    constants = Constants()
    joints = Step(graph, constants, "")
    operators, outputs = [], dict[str, list[str]]()
    states = state_names(graph)
    first = constants.integers("first_axis", [0])
    for t in range(graph.steps):
        step = Step(graph, constants, f"step{t}/")
        index = constants.integers(f"step{t}", t)
        step.alias("Gather", ["input", index], f"step{t}/input", axis=0)
        values = add_step(step, f"step{t}/input", states)
        for name in finished(step, values, f"step{t}/", record=record):
            outputs.setdefault(name, []).append(f"step{t}/{name}")
        states = dict(values.states)
        operators += step.operators
    for name, parts in outputs.items():
        if name.startswith("state_out/"):
            joints.alias("Identity", parts[-1:], name)
            continue
        for part in parts:
            joints.alias("Unsqueeze", [part, first], f"{part}:row")
        joints.alias("Concat", [f"{part}:row" for part in parts], name, axis=0)
    nodes = [*operators, *joints.operators]
    return model_graph(graph, constants, nodes, "unroll", list(outputs), graph.steps)


FORMS: Mapping[str, Callable[[SpikingGraph, bool], Any]] = {
    "scan": scan_form,
    "step": step_form,
    "unroll": unroll_form,
}


def state_names(graph: SpikingGraph, prefix: str = "") -> dict[str, str]:
    """The name of each input state."""
    return {name: f"{prefix}state/{name}" for name in initial_states(graph)}


def finished(step: Step, values: StepValues, prefix: str, *, record: bool) -> list[str]:
    """Give a step's results their public names after `prefix`; returns the names.

    States come first, as a Scan requires.
    """
    public = {f"state_out/{name}": v for name, v in values.states.items()}
    public["output"] = values.output
    if record:
        public |= {f"spikes/{name}": v for name, v in values.spikes.items()}
        public |= {f"membranes/{name}": v for name, v in values.membranes.items()}
    for name, value in public.items():
        step.alias("Identity", [value], f"{prefix}{name}")
    return list(public)


def value_shapes(graph: SpikingGraph) -> dict[str, tuple[int, ...]]:
    """Shapes of all inputs and outputs by name, without T and B."""
    states = {
        f"{kind}/{name}": state.shape
        for name, state in initial_states(graph).items()
        for kind in ("state", "state_out")
    }
    records = {
        f"{kind}/{name}": tuple(graph.shapes[name])
        for name in graph.neurons
        for kind in ("spikes", "membranes")
    }
    return {
        "input": tuple(graph.shapes[graph.input]),
        "output": tuple(graph.shapes[graph.output]),
        **states,
        **records,
    }


def tensor(
    name: str, shape: tuple[int, ...], time: tuple[str | int, ...], prefix: str = ""
) -> Any:
    """The declaration of one input or output; states have no time axis."""
    types = onnx().TensorProto
    kind = types.BOOL if name.startswith("spikes/") else types.FLOAT
    axes = () if name.startswith("state") else time
    return onnx().helper.make_tensor_value_info(
        f"{prefix}{name}", kind, [*axes, "B", *shape]
    )


def model_graph(
    graph: SpikingGraph,
    constants: Constants,
    operators: list[Any],
    name: str,
    outputs: list[str],
    *time: str | int,
) -> Any:
    """The ONNX graph: constants, operators, and declared inputs and outputs."""
    shapes = value_shapes(graph)
    inputs = ["input", *state_names(graph).values()]
    return onnx().helper.make_graph(
        [*constants.operators, *operators],
        name,
        [tensor(n, shapes[n], time) for n in inputs],
        [tensor(n, shapes[n], time) for n in outputs],
        initializer=list(constants.initializers.values()),
    )
