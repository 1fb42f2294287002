"""Runs the cases in one reader; a program for the reader's own environment.

    python readers.py READER REQUEST

READER is a name of `READERS`, or module:function of one's own. Each is called as
simulate(path, dt, inputs [T, B, ...]) and returns the output [T, B, ...]. REQUEST is a
JSON file: {"dt": seconds, "cases": {name: [NIR file, .npy of inputs]}, "out": folder}.
For each case it writes out/NAME.npy, or out/NAME.txt with the reason of a refusal.

Each reader is called as its documentation says; where it needs the number of samples or
the dt, it gets them.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path

import nir
import numpy as np


def stepped(make, inputs, kind="float32"):
    """The outputs of a torch module that takes one step and its state.

    NIR shapes have no batch axis. Where a module refuses one, each sample runs alone.
    """
    import torch

    def run(network, values):
        state, outputs = None, []
        with torch.no_grad():
            for x in torch.tensor(values, dtype=getattr(torch, kind)):
                out, state = network(x, state)
                outputs.append(out.numpy())
        return np.stack(outputs)

    network = make()
    try:
        return run(network, inputs)
    except (RuntimeError, ValueError):
        alone = [run(make(), inputs[:, i]) for i in range(inputs.shape[1])]
        return np.stack(alone, axis=1)


def norse(path, dt, inputs):
    """Norse: norse.torch.from_nir."""
    from norse.torch import from_nir

    return stepped(lambda: from_nir(nir.read(path), dt=dt), inputs)


def snntorch(path, dt, inputs):
    """snnTorch: import_from_nir; its dt is 1e-4."""
    from snntorch.import_nir import import_from_nir

    return stepped(lambda: import_from_nir(nir.read(path)), inputs)


def spikingjelly(path, dt, inputs):
    """SpikingJelly: nir_exchange.import_from_nir."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return stepped(lambda: import_from_nir(path, dt=dt), inputs)


def sinabs(path, dt, inputs):
    """sinabs: from_nir; it takes all samples and steps as one batch.

    Its time constants are in steps, so they are divided by dt.
    """
    import torch
    from sinabs.nir import from_nir

    steps, samples = inputs.shape[:2]
    graph = nir.read(path)
    for node in graph.nodes.values():
        if hasattr(node, "tau"):
            node.tau = node.tau / dt
    network = from_nir(graph, batch_size=samples)
    batch = inputs.swapaxes(0, 1).reshape(steps * samples, *inputs.shape[2:])
    with torch.no_grad():
        out = network(torch.tensor(batch, dtype=torch.float32))
    out = (out[0] if isinstance(out, tuple) else out).numpy()
    return out.reshape(samples, steps, *out.shape[1:]).swapaxes(0, 1)


def rockpool(path, dt, inputs):
    """Rockpool: nn.modules.torch.nir.from_nir; it takes [B, T, N]."""
    import torch
    from rockpool.nn.modules.torch.nir import from_nir

    network = from_nir(nir.read(path))
    with torch.no_grad():
        out, _ = network(torch.tensor(inputs.swapaxes(0, 1), dtype=torch.float32))
    return out.numpy().swapaxes(0, 1)


def nirtorch(path, dt, inputs):
    """nirtorch: nir_to_torch with its default mapping; the neurons are ours."""
    import nirtorch as library
    import torch

    class Neuron(torch.nn.Module):
        """One Euler step of the equations; the state is (current, membrane)."""

        def __init__(self, node):
            super().__init__()
            values = {k: v for k, v in vars(node).items() if isinstance(v, np.ndarray)}
            self.values = {k: torch.tensor(v).double() for k, v in values.items()}

        def forward(self, x, state=None):
            p = self.values
            v = p.get("v_leak", torch.zeros(())) + torch.zeros_like(x)
            u, v = (torch.zeros_like(x), v) if state is None else state
            if "tau_syn" in p:
                u = u + dt / p["tau_syn"] * (p["w_in"] * x - u)
                x = u
            if "tau" in p or "tau_mem" in p:
                k = dt / p.get("tau", p.get("tau_mem"))
                v = v + k * (p["v_leak"] - v + p["r"] * x)
            else:
                v = v + dt * p["r"] * x
            if "v_threshold" not in p:
                return v, (u, v)
            spikes = v > p["v_threshold"]
            return spikes.to(x), (u, torch.where(spikes, p["v_reset"], v))

    kinds = (nir.IF, nir.LIF, nir.CubaLIF, nir.LI, nir.CubaLI, nir.I)
    neurons = dict.fromkeys(kinds, Neuron)
    return stepped(
        lambda: library.nir_to_torch(path, neurons, dtype=torch.float64),
        inputs,
        "float64",
    )


def snn_mlir(path, dt, inputs):
    """snn-mlir: parse_graph; it is not run, because that needs LLVM."""
    from snn_mlir import parse_graph, to_mlir

    parse_graph(path)
    to_mlir(path)


def ours(path, dt, inputs):
    """This toolchain: read, exported to ONNX, and run by ONNX Runtime."""
    from export.from_nir import read
    from targets.simulators.onnx_runtime import OnnxTarget

    graph = read(Path(path), dt=dt, steps=len(inputs))
    trace = OnnxTarget().run(graph, inputs)
    shown = trace.spikes if trace.readout in trace.spikes else trace.membranes
    return shown[trace.readout]


READERS = {
    "norse": norse,
    "snntorch": snntorch,
    "spikingjelly": spikingjelly,
    "sinabs": sinabs,
    "rockpool": rockpool,
    "nirtorch": nirtorch,
    "snn-mlir": snn_mlir,
    "ours": ours,
}


def reader(name):
    """The reader of this name, or the function at module:function."""
    if name in READERS:
        return READERS[name]
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    return getattr(importlib.import_module(module), function)


def main(name, request):
    """Run every case of a request."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    out, simulate = Path(asked["out"]), reader(name)
    for case, (path, inputs) in asked["cases"].items():
        try:
            result = simulate(path, asked["dt"], np.load(inputs))
        except (Exception, SystemExit) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({Path(where.filename).name})"
            (out / f"{case}.txt").write_text(text, encoding="utf-8")
            continue
        if result is None:
            (out / f"{case}.read").touch()
        else:
            np.save(out / f"{case}.npy", np.asarray(result, dtype=np.float64))


if __name__ == "__main__":
    main(*sys.argv[1:])
