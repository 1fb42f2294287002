"""dt in files of other tools, and files for readers with a dt of their own."""

import itertools
import warnings

import nir
import norse.torch as norse
import numpy as np
import pytest
import torch

from export.formats import write_checked
from export.from_nir import from_nir, read
from export.nir_time import for_reader
from export.to_nir import to_nir
from stars.errors import ConfigError, FormatError, UnsupportedNodeError
from stars.graph import reference
from stars.grid.certificate import certify
from stars.grid.rewrite import with_truncating_decay
from stars.testing.kinds import ALL_KINDS
from stars.testing.random_graphs import random_graph, random_inputs

DT = 2.0**-10


def graph_of(*nodes, size=3):
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    shape = np.array([size])
    every = dict(zip(names, [nir.Input(shape), *nodes, nir.Output(shape)], strict=True))
    return nir.NIRGraph(every, list(itertools.pairwise(names)), type_check=False)


def lif(tau, r=1.0, kind=np.float64, size=3):
    tau, r, zero, one = (np.full(size, v, kind) for v in (tau, r, 0, 1))
    return nir.LIF(tau, r, zero, one, zero)


def norse_file(path, dt=1e-3):
    """A 10 ms neuron as Norse's own exporter writes it; returns the module."""
    torch.manual_seed(0)
    full = lambda value: torch.full((20,), value)  # noqa: E731
    p = norse.LIFBoxParameters(full(100.0), full(0.0), full(0.3), full(0.0))
    net = norse.SequentialState(torch.nn.Linear(12, 20), norse.LIFBoxCell(p, dt=dt))
    net[0].weight.data *= 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        nir.write(path, norse.to_nir(net, torch.randn(12), dt=dt))
    return net


def test_a_dt_beyond_tau_is_told_with_the_convention_of_norse(caplog, tmp_path):
    net = norse_file(tmp_path / "net.nir")
    read(tmp_path / "net.nir", dt=1e-3, steps=60)
    assert "node '1': dt / tau is 100, above 1, so its state diverges" in caplog.text
    assert "pass d squared, which is --dt 1e-06 for its default" in caplog.text
    caplog.clear()
    found = read(tmp_path / "net.nir", dt="auto", steps=60)
    assert found.dt == 1e-6
    assert "dt = 1e-06 s, because r = 1 and float32 time constants" in caplog.text
    x = (torch.rand(60, 3, 12) < 0.3).float()
    state, spikes = None, []
    with torch.no_grad():
        for frame in x:
            fired, state = net[1](net[0](frame), state)
            spikes.append(fired.numpy())
    trace = reference.run(found, x.numpy().astype(float))
    np.testing.assert_array_equal(trace.spikes["1"], np.stack(spikes))


@pytest.mark.parametrize("kind", [nir.LIF, nir.LI, nir.CubaLI, nir.CubaLIF])
def test_every_leaky_neuron_is_checked(kind, caplog):
    one = np.ones(3)
    values = {"tau": one, "tau_syn": one, "tau_mem": 4 * one, "r": one}
    values |= {"v_leak": 0 * one, "v_threshold": one, "w_in": one}
    names = kind.__dataclass_fields__
    node = kind(**{n: v for n, v in values.items() if n in names})
    from_nir(graph_of(node), dt=1.0, steps=2)
    assert not caplog.text
    from_nir(graph_of(node), dt=1.5, steps=2)
    assert "dt / tau is 1.5, above 1, so its state overshoots" in caplog.text


def test_a_neuron_without_leak_and_with_r_1_counts_steps(caplog):
    one = np.ones(3)
    from_nir(graph_of(nir.IF(one, one)), dt=1e-3, steps=2)
    assert "an input of 1 adds 0.001 V per step; sinabs and Norse" in caplog.text
    assert from_nir(graph_of(nir.IF(one, one)), dt="auto", steps=2).dt == 1.0


KNOWN = {
    "snnTorch": (graph_of(lif(5e-4, 5, np.float32), lif(1e-3, 10, np.float32)), 1e-4),
    "SpikingJelly IF": (graph_of(nir.IF(np.full(3, 1e3), np.ones(3))), 1e-3),
    "a power of two": (graph_of(lif(8 * DT, 8)), DT),
    "synaptic currents": (
        graph_of(
            nir.CubaLIF(
                np.full(3, 3e-4),
                np.full(3, 5e-4),
                np.full(3, 5.0),
                np.zeros(3),
                np.ones(3),
                w_in=np.full(3, 3.0),
            )
        ),
        1e-4,
    ),
}


@pytest.mark.parametrize(("graph", "dt"), KNOWN.values(), ids=KNOWN)
def test_auto_takes_the_dt_that_the_parameters_show(graph, dt):
    assert from_nir(graph, dt="auto", steps=2).dt == dt


UNKNOWN = {
    "two": (graph_of(lif(5e-4, 5), lif(1e-3, 5)), "tau / r is 0.0001 to 0.0002 s"),
    # rockpool: r = tau exp(-dt / tau) / dt
    "rockpool": (graph_of(lif(0.02, 20 * np.exp(-0.05))), "do not show one dt"),
    "none": (graph_of(lif(0.02)), "do not show the writer's dt; pass --dt"),
    "mixed": (
        graph_of(lif(1e-5, 1, np.float32), nir.IF(np.ones(3), np.ones(3))),
        "do not show the writer's dt",
    ),
}


@pytest.mark.parametrize(("graph", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_auto_refuses_to_guess(graph, message):
    with pytest.raises(FormatError, match=message):
        from_nir(graph, dt="auto", steps=2)
    with pytest.raises(FormatError, match="allowed are seconds per step, or 'auto'"):
        from_nir(graph, dt="fast", steps=2)


def test_auto_of_our_own_file_is_its_dt(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    write_checked("nir", graph, tmp_path / "net.nir")
    assert read(tmp_path / "net.nir", dt="auto") == graph


@pytest.mark.parametrize("dt", [1e-4, 1.0])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_another_dt_keeps_every_spike_and_membrane(kind, dt, tmp_path):
    graph = random_graph(np.random.default_rng(1), kind=kind)
    write_checked("nir", graph, tmp_path / "net.nir", dt=dt)
    found = read(tmp_path / "net.nir")
    assert found.dt == dt
    assert certify(found).verdict == certify(graph).verdict
    x = random_inputs(np.random.default_rng(2), graph, 3)
    want, got = reference.run(graph, x), reference.run(found, x)
    for name, spikes in want.spikes.items():
        np.testing.assert_array_equal(got.spikes[name], spikes)
    for name, membranes in want.membranes.items():
        np.testing.assert_allclose(got.membranes[name], membranes, atol=1e-12)
    for name in graph.spiking if certify(graph).ok else ():
        np.testing.assert_array_equal(got.membranes[name], want.membranes[name])


def gains(graph):
    """The factor that each neuron applies to its input."""
    for name in graph.neurons:
        node = to_nir(graph).nodes[name]
        if hasattr(node, "w_in"):
            yield from (graph.dt / node.tau_syn * node.w_in).flat
            yield from (graph.dt / node.tau_mem * node.r).flat
        elif hasattr(node, "tau"):
            yield from (graph.dt / node.tau * node.r).flat
        else:
            yield from (graph.dt * node.r).flat


@pytest.mark.parametrize("truncating", [False, True])
@pytest.mark.parametrize(
    "kind", ["mlp", "conv", "vgg", "cuba", "integrate", "residual", "shortcut"]
)
def test_unit_gains_keep_every_spike(kind, truncating):
    graph = random_graph(np.random.default_rng(1), kind=kind)
    graph = with_truncating_decay(graph) if truncating else graph
    if kind in ("residual", "cuba"):
        # An identity shortcut carries spikes, so no weights can take their gain.
        with pytest.raises(UnsupportedNodeError, match="'tau/r' moves gains into"):
            for_reader(graph, convention="tau/r")
        return
    found = for_reader(graph, convention="tau/r", dt=1e-4)
    np.testing.assert_allclose(list(gains(found)), 1, rtol=1e-12)
    x = random_inputs(np.random.default_rng(2), graph, 3)
    want, got = reference.run(graph, x), reference.run(found, x)
    for name, spikes in want.spikes.items():
        np.testing.assert_array_equal(got.spikes[name], spikes)
        np.testing.assert_allclose(got.membranes[name], want.membranes[name])


def test_an_unknown_convention_is_refused():
    graph = random_graph(np.random.default_rng(1), kind="mlp")
    with pytest.raises(ConfigError, match="there are nir, tau/r"):
        for_reader(graph, convention="r/tau")
