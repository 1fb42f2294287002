"""Every golden value, from an independent formula: scalar loops over the NIR graph."""

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from scipy.signal import correlate

from targets.conformance.cases import CASES, DT, STEPS
from targets.conformance.golden import read_suite

SUITE = Path(__file__).parents[3] / "conformance"
_, GOLDEN = read_suite(SUITE)


def flat(nodes, edges, prefix=""):
    """(Nodes, edges) without nested graphs; a graph's ends become plain joints."""
    found, links = {}, [(prefix + a, prefix + b) for a, b in edges]
    for name, node in nodes.items():
        if isinstance(node, nir.NIRGraph):
            inner, more = flat(node.nodes, node.edges, f"{prefix}{name}.")
            ends = {
                type(v): n
                for n, v in inner.items()
                if n.count(".") == prefix.count(".") + 1
            }
            enter, leave = ends[nir.Input], ends[nir.Output]
            links = [
                (leave if a == prefix + name else a, enter if b == prefix + name else b)
                for a, b in links
            ]
            found |= inner
            links += more
        else:
            found[prefix + name] = node
    return found, links


def convolved(node, x):
    """One sample, by scipy, channel by channel."""
    kernel = np.asarray(node.weight, float)
    axes = kernel.ndim - 2
    both = lambda v: (v,) * axes if np.ndim(v) == 0 else tuple(v)  # noqa: E731
    stride, dilation = both(node.stride), both(node.dilation)
    shape = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilation, strict=True)]
    taps = np.zeros((*kernel.shape[:2], *shape))
    taps[(..., *(slice(None, None, d) for d in dilation))] = kernel
    if node.padding == "same":
        pads = [((n - 1) // 2, n // 2) for n in shape]
    else:
        pads = [(p, p) for p in both(node.padding)]
    x = np.pad(x, [(0, 0), *pads])
    inside = kernel.shape[1]
    per_group = len(kernel) // node.groups
    out = []
    for o, row in enumerate(taps):
        first = o // per_group * inside
        total = sum(correlate(x[first + c], row[c], "valid") for c in range(inside))
        out.append(total[tuple(slice(None, None, s) for s in stride)] + node.bias[o])
    return np.stack(out)


def pooled(node, x):
    """Windows one by one."""
    (kh, kw), (sh, sw) = np.atleast_1d(node.kernel_size), np.atleast_1d(node.stride)
    rows, columns = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    result = np.array(
        [
            [
                [
                    c[i * sh : i * sh + kh, j * sw : j * sw + kw].sum()
                    for j in range(columns)
                ]
                for i in range(rows)
            ]
            for c in x
        ]
    )
    return result / (kh * kw) if isinstance(node, nir.AvgPool2d) else result


class Population:
    """Solves the equations for one population and one sample."""

    def __init__(self, node):
        self.node, self.u, self.past = node, 0.0, []
        self.v = getattr(node, "v_leak", 0.0) + 0.0

    def step(self, x):
        node = self.node
        if isinstance(node, nir.Delay):
            self.past.append(x)
            rows = np.rint(node.delay / DT).astype(int)
            late = [
                self.past[-1 - n][i] if n < len(self.past) else 0.0
                for i, n in np.ndenumerate(rows)
            ]
            return np.array(late).reshape(rows.shape)
        if isinstance(node, nir.Threshold):
            return (x > node.threshold) * 1.0
        if hasattr(node, "tau_syn"):  # x a + b: the solution as a weighted mean
            k = DT / node.tau_syn
            self.u = (1 - k) * self.u + k * node.w_in * x
            x = self.u
        if isinstance(node, nir.IF | nir.I):
            self.v = self.v + DT * node.r * x
        else:
            k = DT / (node.tau if hasattr(node, "tau") else node.tau_mem)
            self.v = (1 - k) * self.v + k * (node.v_leak + node.r * x)
        if not hasattr(node, "v_threshold"):
            return self.v
        fired = self.v > node.v_threshold
        self.v = np.where(fired, node.v_reset, self.v)
        return fired * 1.0


MAPS = {
    nir.Input: lambda _, x: x,
    nir.Output: lambda _, x: x,
    nir.Affine: lambda n, x: n.weight @ x + n.bias,
    nir.Linear: lambda n, x: n.weight @ x,
    nir.Conv1d: convolved,
    nir.Conv2d: convolved,
    nir.SumPool2d: pooled,
    nir.AvgPool2d: pooled,
    nir.Flatten: lambda _, x: x.ravel(),
    nir.Scale: lambda n, x: n.scale * x,
}


def simulated(graph, inputs):
    """The output of one sample, [T, ...], and the distances |v - v_threshold|."""
    nodes, edges = flat(graph.nodes, graph.edges)
    state = {n: Population(v) for n, v in nodes.items() if type(v) not in MAPS}
    into = {n: [a for a, b in edges if b == n] for n in nodes}
    outputs, last = [], {}
    for x in inputs:
        values = {"input": x}
        waiting = [n for n in nodes if n != "input"]
        while waiting:
            for name in waiting:
                late = {a for a in into[name] if a == "lif" and name == "rec"}
                if all(a in values or a in late for a in into[name]):
                    break
            parts = [
                last.get(a, np.zeros(nodes[a].r.shape)) if a in late else values[a]
                for a in into[name]
            ]
            total, node = sum(parts), nodes[name]
            apply = MAPS.get(type(node))
            values[name] = apply(node, total) if apply else state[name].step(total)
            waiting.remove(name)
        last = values
        outputs.append(values["output"])
    return np.stack(outputs)


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_that_of_an_independent_formula(name):
    golden, graph = GOLDEN[name], CASES[name].graph()
    assert golden.inputs.shape[0] == STEPS
    for sample in range(golden.inputs.shape[1]):
        found = simulated(graph, golden.inputs[:, sample])
        expected = golden.output[:, sample]
        if expected.dtype == bool:
            np.testing.assert_array_equal(found != 0, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_spikes_and_silence_and_no_close_call(name):
    golden = GOLDEN[name]
    if golden.output.dtype == bool:
        assert 0 < golden.output.sum() < golden.output.size
    arrays = np.load(SUITE / f"{name}.npz")
    with h5py.File(golden.path) as file:
        for node, group in file["node/nodes"].items():
            key = f"membranes/{node}"
            if key in arrays and "v_threshold" in group and "threshold" not in name:
                spikes, v = arrays[f"spikes/{node}"], arrays[key]
                gap = np.abs(v - group["v_threshold"][()])[~spikes]
                assert gap.min() > 1e-5, (name, node)


def test_both_sides_of_the_threshold_occur():
    at = np.load(SUITE / "at_threshold.npz")
    assert (at["membranes/neuron"] == 0.75).any()
    above = np.load(SUITE / "above_threshold.npz")
    sums = above["input"][0]
    assert above["output"][0][sums == 0.75].all()
    assert not at["output"][0][at["input"][0] == 0.75].any()


@pytest.mark.parametrize("name", CASES)
def test_every_case_says_its_rule_and_its_source(name):
    golden = GOLDEN[name]
    assert (golden.rule, golden.source) == (CASES[name].rule, CASES[name].source)
    assert len(golden.rule.split()) < 25
    assert golden.source
