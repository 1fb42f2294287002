"""An ONNX file of ours with every layer's spikes and membranes read, or set.

The operators and the weights of the file stay as they are. A tap names a value that is
in the file already as one more output; a forced layer's spikes go on to the next nodes
from a new input, in place of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from export.onnx_step import onnx
from stars.errors import FormatError

SPIKES, MEMBRANES, FORCED = "spikes/", "membranes/", "forced/"


def layers(model: Any, neurons: Iterable[str], form: str) -> tuple[str, ...]:
    """Those of the neuron nodes that spike, in this order."""
    prefix = prefixes(model, form)[0]
    made = {name for operator in place(model, form).node for name in operator.output}
    return tuple(name for name in neurons if fired(prefix, name) in made)


def tapped(
    model: Any, neurons: Iterable[str], form: str, *, forced: Iterable[str] = ()
) -> Any:
    """A copy of `model` that gives the trace, and takes some layers' spikes.

    Args:
        model: an onnx.ModelProto that `export.to_onnx` made.
        neurons: its neuron nodes.
        form: of it.
        forced: spiking nodes whose spikes are an input. Each is float32, and the file's
            own spikes are still an output.

    Returns:
        The model. In the form scan the new values are [T, B, ...]; else there is one of
        each step, [B, ...], whose name ends as `at_step` says.

    Raises:
        FormatError: it does not have the values that a file of ours has.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    names = tuple(neurons)
    spiking = layers(copy, names, form)
    shapes = {v.name: tuple(sizes(v)) for v in copy.graph.output}
    prefix = prefixes(copy, form)[0]
    made = {name for operator in place(copy, form).node for name in operator.output}
    if missing := [name for name in names if membrane(prefix, name) not in made]:
        raise FormatError(
            f"has no values of {missing} under the names of a file of ours"
        )
    add = tap_scan if form == "scan" else tap_steps
    kinds = onnx().TensorProto
    for name in names:
        shape = shapes[f"state_out/{name}"]
        add(copy, form, MEMBRANES, name, membrane, kinds.FLOAT, shape)
        if name in spiking:
            add(copy, form, SPIKES, name, fired, kinds.BOOL, shape)
    force = force_scan if form == "scan" else force_steps
    for name in forced:
        force(copy, form, name, shapes[f"state_out/{name}"])
    return copy


def at_step(name: str, step: int) -> str:
    """Name of a value of one step, in a form whose steps are apart."""
    return f"{name}:{step}"


def fired(prefix: str, name: str) -> str:
    """Name of a layer's spikes, bool, as `export.onnx_step` gives it."""
    return f"{prefix}{name}:fired"


def membrane(prefix: str, name: str) -> str:
    """Name of a layer's membrane after the reset."""
    return f"{prefix}{name}:membrane"


def spikes(prefix: str, name: str) -> str:
    """Name of a layer's spikes as numbers: what goes on to the next nodes."""
    return f"{prefix}{name}:spikes"


def prefixes(model: Any, form: str) -> tuple[str, ...]:
    """What the names of each step begin with."""
    if form == "unroll":
        (time,) = [sizes(v)[0] for v in model.graph.input if v.name == "input"]
        return tuple(f"step{t}/" for t in range(int(time)))
    return ("step/",) if form == "scan" else ("",)


def place(model: Any, form: str) -> Any:
    """The graph that has the operators of the steps: the Scan's body, or the whole."""
    return body(scan(model)) if form == "scan" else model.graph


def scan(model: Any) -> Any:
    """The one Scan of a model.

    Raises:
        FormatError: there is none, or another operator.
    """
    if [operator.op_type for operator in model.graph.node] != ["Scan"]:
        raise FormatError("the ONNX file says that it is of the form scan and is not")
    return model.graph.node[0]


def body(operator: Any) -> Any:
    """The graph of a Scan's step."""
    (found,) = [a for a in operator.attribute if a.name == "body"]
    return found.g


def sizes(value: Any) -> list[str | int]:
    """The declared shape; a free axis is a name."""
    dimensions = value.type.tensor_type.shape.dim
    return [d.dim_param or d.dim_value for d in dimensions]


Role = Callable[[str, str], str]  # prefix, node -> name of a value


def tap_scan(
    model: Any,
    form: str,
    kind: str,
    name: str,
    role: Role,
    element: int,
    shape: tuple[str | int, ...],
) -> None:
    """Give a value of every step as an output [T, B, ...], if it is none yet."""
    public = f"{kind}{name}"
    if any(value.name == public for value in model.graph.output):
        return
    (prefix,) = prefixes(model, form)
    loop, helper = scan(model), onnx().helper
    inner = f"{prefix}{public}"
    step = body(loop)
    step.node.append(helper.make_node("Identity", [role(prefix, name)], [inner]))
    step.output.append(helper.make_tensor_value_info(inner, element, shape))
    loop.output.append(public)
    whole = helper.make_tensor_value_info(public, element, ["T", *shape])
    model.graph.output.append(whole)


def tap_steps(
    model: Any,
    form: str,
    kind: str,
    name: str,
    role: Role,
    element: int,
    shape: tuple[str | int, ...],
) -> None:
    """Give a value of each step as an output [B, ...] of its own."""
    helper = onnx().helper
    for step, prefix in enumerate(prefixes(model, form)):
        public = at_step(f"{kind}{name}", step)
        source = role(prefix, name)
        model.graph.node.append(helper.make_node("Identity", [source], [public]))
        model.graph.output.append(helper.make_tensor_value_info(public, element, shape))


def force_scan(model: Any, form: str, name: str, shape: tuple[str | int, ...]) -> None:
    """Let a layer's spikes come from an input [T, B, ...]."""
    (prefix,) = prefixes(model, form)
    loop, helper = scan(model), onnx().helper
    public, inner = f"{FORCED}{name}", f"{prefix}{FORCED}{name}"
    step, element = body(loop), onnx().TensorProto.FLOAT
    rewire(step.node, spikes(prefix, name), inner)
    step.input.append(helper.make_tensor_value_info(inner, element, shape))
    loop.input.append(public)
    (count,) = [a for a in loop.attribute if a.name == "num_scan_inputs"]
    count.i += 1
    whole = helper.make_tensor_value_info(public, element, ["T", *shape])
    model.graph.input.append(whole)


def force_steps(model: Any, form: str, name: str, shape: tuple[str | int, ...]) -> None:
    """Let a layer's spikes come from an input [B, ...] of each step."""
    helper = onnx().helper
    for step, prefix in enumerate(prefixes(model, form)):
        public = at_step(f"{FORCED}{name}", step)
        rewire(model.graph.node, spikes(prefix, name), public)
        model.graph.input.append(
            helper.make_tensor_value_info(public, onnx().TensorProto.FLOAT, shape)
        )


def rewire(operators: Iterable[Any], old: str, new: str) -> None:
    """Let every operator that reads `old` read `new`."""
    for operator, i in reads(operators, old):
        operator.input[i] = new


def reads(operators: Iterable[Any], name: str) -> Iterator[tuple[Any, int]]:
    """(operator, which of its inputs) of all that read a value."""
    for operator in operators:
        for i, read in enumerate(operator.input):
            if read == name:
                yield operator, i
