"""dt in NIR: what other writers mean by it, and files for readers with rules of theirs.

NIR has no dt. Each tool has a convention, and a file does not name its tool:

    Norse 1.1          tau = dt / tau_mem_inv, which is dt times too small; r = 1
    snnTorch 1.0       dt = 1e-4; r = tau / dt, w_in = tau_syn / dt
    SpikingJelly 2.0   dt is an argument, 1e-4 by default; r = 1 or tau / dt; IF 1 / dt
    sinabs 3.1         IF has r = 1 and adds its input at each step: dt = 1

`docs/guides/nir.md` has the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import nir
import numpy as np

from stars.errors import ConfigError, FormatError, UnsupportedNodeError
from stars.graph.nodes import (
    IF,
    LI,
    LIF,
    Array,
    CubaLI,
    Integrator,
    Node,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.rewrite import weights_of_population

CONVENTIONS = ("nir", "tau/r")
SINGLE = 1e-6  # relative error of a quotient of float32 numbers
NORSE_DT = 1e-3  # seconds, the default of Norse's to_nir
NORSE_HINT = (
    "Norse 1.1 writes tau = dt / tau_mem_inv: if its to_nir wrote this file with a step"
    f" of d seconds, pass d squared, which is --dt {NORSE_DT**2:g} for its default"
    f" d = {NORSE_DT:g}"
)
UNIT_HINT = (
    "sinabs and Norse write r = 1 and add the input once per step: for their files pass"
    " --dt 1"
)


def doubts(graph: SpikingGraph, *, ours: bool) -> list[str]:
    """Warnings about a dt that no writer can have meant.

    Args:
        graph: as read.
        ours: whether this toolchain wrote the file.
    """
    ratios = {
        name: max(float((graph.dt / tau).max()) for tau in taus)
        for name in graph.neurons
        if (taus := time_constants(graph.neuron(name)))
    }
    found = []
    if fast := {name: k for name, k in ratios.items() if k > 1}:
        worst = max(fast, key=lambda name: fast[name])
        k = fast[worst]
        effect = "diverges" if k > 2 else "overshoots its target"
        hint = f"; {NORSE_HINT}" if is_norse(graph, list(fast)) else ""
        found.append(
            f"node {worst!r}: dt / tau is {k:.6g}, above 1, so its state {effect}"
            f" (so in {len(fast)} of {len(ratios)} nodes); choose a dt below"
            f" {graph.dt / k:.6g} s{hint}"
        )
    units = [
        name
        for name in graph.neurons
        if isinstance(node := graph.nodes[name], IF | Integrator)
        and (node.r == 1).all()
    ]
    if units and graph.dt != 1 and not ours:
        found.append(
            f"node {units[0]!r}: r is 1 and dt is {graph.dt:g} s, so an input of 1 adds"
            f" {graph.dt:g} V per step; {UNIT_HINT}"
        )
    return found


def is_norse(graph: SpikingGraph, names: list[str]) -> bool:
    """Whether the named nodes have no gain of their own, as Norse writes them."""
    gains = (getattr(graph.nodes[name], "r", np.zeros(1)) for name in names)
    return all(bool((gain == 1).all()) for gain in gains)


def time_constants(node: Node) -> tuple[Array, ...]:
    """The time constants of a node, seconds."""
    names = ("tau", "tau_syn", "tau_mem")
    return tuple(getattr(node, name) for name in names if hasattr(node, name))


def written_dt(graph: nir.NIRGraph) -> tuple[float, str]:
    """(dt in seconds, the reason) of a NIR graph whose parameters show the writer's.

    Raises:
        FormatError: they show none, or several.
    """
    neurons = [n for n in graph.nodes.values() if hasattr(n, "r")]
    implied = np.concatenate(
        [np.zeros(0), *(found for n in neurons for found in dts(n))]
    )
    if implied.size:
        return agreed(implied)
    leaky = [n for n in neurons if not isinstance(n, nir.IF | nir.I)]
    if neurons and not leaky:
        return 1.0, "every neuron has r = 1 and no leak, as sinabs and Norse write IF"
    taus = [np.asarray(t) for n in leaky for t in time_constants_of(n)]
    if len(leaky) == len(neurons) and taus and all(map(is_norse_tau, taus)):
        return (
            NORSE_DT**2,
            "r = 1 and float32 time constants below 1 ms, as Norse 1.1 writes them with"
            f" its default step of {NORSE_DT:g} s",
        )
    raise FormatError(
        "the parameters do not show the writer's dt; pass --dt in seconds: 1e-4 for"
        f" snnTorch, the dt of export_to_nir for SpikingJelly (1e-4); {NORSE_HINT};"
        f" {UNIT_HINT}"
    )


def is_norse_tau(tau: Array) -> bool:
    """Whether Norse can have written these time constants with its default dt."""
    small = bool((tau >= NORSE_DT**2).all() and (tau < NORSE_DT).all())
    return tau.dtype == np.float32 and small


def time_constants_of(node: nir.NIRNode) -> Iterator[Array]:
    """The time constants of a NIR neuron, seconds."""
    for name in ("tau", "tau_syn", "tau_mem"):
        if hasattr(node, name):
            yield np.asarray(getattr(node, name))


def dts(node: nir.NIRNode) -> Iterator[Array]:
    """The dt for which an input has the gain 1, by neuron; none where r is 1."""
    for time, gain in (("tau", "r"), ("tau_mem", "r"), ("tau_syn", "w_in"), ("", "r")):
        leakless = isinstance(node, nir.IF | nir.I)
        if leakless if not time else hasattr(node, time):
            factor = np.asarray(getattr(node, gain), np.float64)
            if (factor != 1).any() and (factor > 0).all():
                seconds = np.asarray(getattr(node, time) if time else 1.0, np.float64)
                yield np.ravel(seconds / factor)


def agreed(implied: Array) -> tuple[float, str]:
    """(dt, the reason) if all neurons imply one dt that a person would choose.

    Raises:
        FormatError: they do not.
    """
    least, most = float(implied.min()), float(implied.max())
    for dt in (float(f"{least:.3g}"), 2.0 ** round(np.log2(least))):
        if np.abs(implied / dt - 1).max() < SINGLE * 4:
            return dt, "r = tau / dt in every neuron, or 1 / dt without a leak"
    raise FormatError(
        f"tau / r is {least:.6g} to {most:.6g} s, so the parameters do not show one dt"
        " of their writer; pass --dt in seconds"
    )


def for_reader(
    graph: SpikingGraph, *, dt: float | None = None, convention: str = "nir"
) -> SpikingGraph:
    """The same network for a reader that has a dt or a convention of its own.

    Args:
        graph: to rewrite.
        dt: the reader's seconds per step; None keeps the graph's.
        convention: "nir"; or "tau/r" for readers that take dt = tau / r and add their
            input without a factor.

    Raises:
        ConfigError: the convention is unknown.
        GraphError: dt is not positive.
        UnsupportedNodeError: no weights can take a factor; names the nodes.
    """
    if convention not in CONVENTIONS:
        raise ConfigError(
            f"unknown convention '{convention}'; there are {', '.join(CONVENTIONS)}"
        )
    if dt is not None:
        graph = at_dt(graph, float(dt))
    return with_unit_gains(graph) if convention == "tau/r" else graph


def at_dt(graph: SpikingGraph, dt: float) -> SpikingGraph:
    """`graph` with another dt, and every time constant and rate rescaled.

    Each dt / tau stays, to the last bit if it is a power of two, and so does each dt r
    of a neuron without leak.
    """
    return replace(graph, dt=dt, nodes=rescaled_nodes(graph, dt))


def rescaled_nodes(graph: SpikingGraph, dt: float) -> dict[str, Node]:
    """The nodes of `graph` for another dt; delays are counted in steps already."""
    nodes = dict(graph.nodes)
    for name in graph.neurons:
        node = nodes[name]
        if isinstance(node, IF | Integrator):
            nodes[name] = replace(node, r=graph.dt * node.r / dt)
        elif isinstance(node, LIF | LI):
            nodes[name] = replace(node, tau=dt / (graph.dt / node.tau))
        elif isinstance(node, CubaLI):
            nodes[name] = replace(
                node,
                tau_syn=dt / (graph.dt / node.tau_syn),
                tau_mem=dt / (graph.dt / node.tau_mem),
            )
    return nodes


def with_unit_gains(graph: SpikingGraph) -> SpikingGraph:
    """`graph` with the gain of every input moved into the weights before it.

    v' = (1 - dt / tau) v + x needs r = tau / dt; a synaptic current w_in = tau_syn / dt
    too, and a membrane without leak r = 1 / dt.

    Raises:
        UnsupportedNodeError: no weights can take a factor; names the nodes.
    """
    stuck = []
    for name in graph.neurons:
        node = graph.neuron(name)
        if not isinstance(node, IF | Integrator | LIF | LI | CubaLI):
            continue
        gain, unity = unit_gain(node, graph.dt)
        changed = weights_of_population(graph, name, gain) if (gain != 1).any() else {}
        if not changed and (gain != 1).any():
            stuck.append(name)
        graph = graph.replace_nodes({**changed, name: unity})
    if stuck:
        raise UnsupportedNodeError(
            f"NIR export: convention 'tau/r' moves gains into the weights before"
            f" {', '.join(map(repr, stuck))}, but no weights there can take them: they"
            " differ within a channel, or other nodes read the same weights"
        )
    return graph


def unit_gain(
    node: IF | Integrator | LIF | LI | CubaLI, dt: float
) -> tuple[Array, IF | Integrator | LIF | LI | CubaLI]:
    """(The factor of an input, the node in which that factor is 1)."""
    if isinstance(node, IF | Integrator):
        return dt * node.r, replace(node, r=np.ones(node.shape) / dt)
    if isinstance(node, CubaLI):
        k_u, k_v = dt / node.tau_syn, dt / node.tau_mem
        return k_u * node.w_in * k_v * node.r, replace(node, r=1 / k_v, w_in=1 / k_u)
    k = dt / node.tau
    return k * node.r, replace(node, r=1 / k)
