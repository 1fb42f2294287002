"""Taps of an exported ONNX file: read, or replace, every layer's spikes.

The operators and weights of the file do not change. A tap makes a value of the file
one more output. For a forced layer, the next nodes read its spikes from a new input. A
value is identified by the name of its operator: prefix of the step, node, role
(`export.onnx_step`). Simplifiers such as onnxsim rename values, but not operators. They
remove the Identity that gives a Threshold its membrane, which then is what it compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.onnx_operators import onnx
from stars.errors import FormatError

SPIKES, MEMBRANES, FORCED = "spikes/", "membranes/", "forced/"  # new, public names
FIRED, MEMBRANE, SENT = ":fired", ":membrane", ":spikes"  # roles; sent on as numbers


def spiking(model: Any, form: str) -> tuple[str, ...]:
    """Names of the file's spiking nodes, in execution order."""
    return nodes_with(model, form, FIRED)


def tapped(model: Any, form: str, forced: Mapping[str, tuple[int, ...]]) -> Any:
    """A copy of `model` that outputs the trace, and reads some layers' spikes.

    Args:
        model: an onnx.ModelProto made by `export.to_onnx`.
        form: its form.
        forced: shapes of the spiking nodes whose spikes become a float32 input; the
            file's own spikes are still an output.

    Returns:
        The model. In the form scan the new values are [T, B, ...]. In the others each
        step has one, [B, ...], with the name that `at_step` gives.

    Raises:
        FormatError: it lacks the values of an exported file.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    fire = spiking(copy, form)
    neurons = dict.fromkeys([*nodes_with(copy, form, MEMBRANE), *fire])
    give, take = (give_scan, take_scan) if form == "scan" else (give_steps, take_steps)
    for name in neurons:
        give(copy, form, f"{MEMBRANES}{name}", f"{name}{MEMBRANE}", "FLOAT")
    for name in fire:
        give(copy, form, f"{SPIKES}{name}", f"{name}{FIRED}", "BOOL")
    for name, shape in forced.items():
        take(copy, form, f"{FORCED}{name}", f"{name}{SENT}", shape)
    return copy


def at_step(name: str, step: int) -> str:
    """Name of a value of one step, in a form with separate steps."""
    return f"{name}:{step}"


def nodes_with(model: Any, form: str, role: str) -> tuple[str, ...]:
    """Names of the nodes that have a value of a role, in execution order."""
    prefix = prefixes(model, form)[0]
    # A name of a malformed file may be bytes that are no text.
    names = (str(operator.name) for operator in place(model, form).node)
    return tuple(
        name.removeprefix(prefix).removesuffix(role)
        for name in names
        if name.startswith(prefix) and name.endswith(role)
    )


def computed(graph: Any, name: str) -> str:
    """The value that the operator `name` of a graph computes.

    Raises:
        FormatError: there is no such operator.
    """
    operators = {operator.name: operator for operator in graph.node}
    if name in operators:
        return str(operators[name].output[0])
    fired = operators.get(f"{name.removesuffix(MEMBRANE)}{FIRED}")
    if name.endswith(MEMBRANE) and fired is not None and is_threshold(graph, fired):
        return str(fired.input[0])
    raise FormatError(f"has no operator {name!r}; export it again")


def is_threshold(graph: Any, fired: Any) -> bool:
    """Whether no reset follows the comparison `fired`, as in a Threshold."""
    return not any(
        operator.op_type == "Where" and operator.input[0] == fired.output[0]
        for operator in graph.node
    )


def prefixes(model: Any, form: str) -> tuple[str, ...]:
    """The prefix of the names of each step."""
    if form == "unroll":
        (declared,) = [v for v in model.graph.input if v.name == "input"]
        steps = declared.type.tensor_type.shape.dim[0].dim_value
        return tuple(f"step{t}/" for t in range(steps))
    return ("step/",) if form == "scan" else ("",)


def place(model: Any, form: str) -> Any:
    """The graph with the operators of the steps: the Scan's body, or the whole."""
    return body(scan(model)) if form == "scan" else model.graph


def scan(model: Any) -> Any:
    """The only operator of a model, a Scan.

    Raises:
        FormatError: there is another operator.
    """
    if [operator.op_type for operator in model.graph.node] != ["Scan"]:
        raise FormatError("claims the form scan but is not one Scan; export it again")
    return model.graph.node[0]


def body(operator: Any) -> Any:
    """The graph of a Scan's step."""
    (found,) = [a for a in operator.attribute if a.name == "body"]
    return found.g


def give_scan(model: Any, form: str, public: str, value: str, element: str) -> None:
    """Make a value of every step an output [T, B, ...], unless it is one already."""
    if any(output.name == public for output in model.graph.output):
        return
    (prefix,) = prefixes(model, form)
    loop = scan(model)
    step, inner = body(loop), f"{prefix}{public}"
    step.node.append(same(computed(step, f"{prefix}{value}"), inner))
    step.output.append(declared(inner, element))
    loop.output.append(public)
    model.graph.output.append(declared(public, element))


def give_steps(model: Any, form: str, public: str, value: str, element: str) -> None:
    """Make the value of each step an output [B, ...]."""
    for t, prefix in enumerate(prefixes(model, form)):
        found = computed(model.graph, f"{prefix}{value}")
        model.graph.node.append(same(found, at_step(public, t)))
        model.graph.output.append(declared(at_step(public, t), element))


def take_scan(
    model: Any, form: str, public: str, value: str, shape: tuple[int, ...]
) -> None:
    """Make the readers of a value read an input [T, B, ...]."""
    (prefix,) = prefixes(model, form)
    loop = scan(model)
    step, inner = body(loop), f"{prefix}{public}"
    rewire(step, f"{prefix}{value}", inner)
    step.input.append(declared(inner, "FLOAT", ("B", *shape)))
    loop.input.append(public)
    (count,) = [a for a in loop.attribute if a.name == "num_scan_inputs"]
    count.i += 1
    model.graph.input.append(declared(public, "FLOAT", ("T", "B", *shape)))


def take_steps(
    model: Any, form: str, public: str, value: str, shape: tuple[int, ...]
) -> None:
    """Make the readers of a value read an input [B, ...] for each step."""
    for t, prefix in enumerate(prefixes(model, form)):
        rewire(model.graph, f"{prefix}{value}", at_step(public, t))
        given = declared(at_step(public, t), "FLOAT", ("B", *shape))
        model.graph.input.append(given)


def same(source: str, name: str) -> Any:
    """An Identity operator from `source` to `name`."""
    return onnx().helper.make_node("Identity", [source], [name])


def declared(
    name: str, element: str, shape: tuple[str | int, ...] | None = None
) -> Any:
    """The declaration of a value; without `shape` the runtime infers it.

    A free axis is a name.
    """
    kind = getattr(onnx().TensorProto, element)
    return onnx().helper.make_tensor_value_info(name, kind, shape)


def rewire(graph: Any, name: str, new: str) -> None:
    """Make every reader of what the operator `name` computes read `new`."""
    old = computed(graph, name)
    for operator in graph.node:
        for i, read in enumerate(operator.input):
            if read == old:
                operator.input[i] = new
    if any(output.name == old for output in graph.output):
        # A simplifier removed the Identity that gave the output its name.
        (source,) = [o for o in graph.node if old in o.output]
        source.output[:] = [f"{name}:own"]
        graph.node.append(same(new, old))
