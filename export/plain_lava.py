"""The network of a plan.npz in plain Lava, bit-accurate to the chip.

This file is part of every bundle. It needs Python 3.10 and lava-nc 0.10, which brings
numpy and scipy, but not stars. Samples are streamed one after the other. Every
connection takes one step, and each layer is reset when the next sample reaches it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIFReset
from lava.proc.monitor.process import Monitor
from lava.proc.sparse.process import DelaySparse, Sparse
from scipy.sparse import csr_matrix

FORMAT, VERSIONS = "stars.plan", (1, 2)
MESSAGE_BITS = 24  # 0 would cast graded inputs to bool
NEVER = 2**17 - 1  # the largest threshold, for a readout


class Processes:
    """The processes of one plan: neurons of each layer, synapses between them.

    Args:
        path: of plan.npz.
        length: steps of a sample.

    Attributes:
        layers: the plan's description of each layer, by name.
        neurons: LIFReset of each layer, by name; its `s_out` can feed more processes.
    """

    def __init__(self, path: str | Path, length: int) -> None:
        self.plan = np.load(path)
        self.header = json.loads(str(self.plan["header"]))
        found = self.header["format"], self.header["version"]
        if found[0] != FORMAT or found[1] not in VERSIONS:
            raise ValueError(
                f"{path} is {found}, expected {FORMAT!r}, one of {VERSIONS}"
            )
        self.length = length
        self.layers = {p["name"]: p for p in self.header["populations"]}
        self.neurons = {
            name: LIFReset(
                shape=(math.prod(layer["shape"]),),
                # Lava counts steps from 1 and resets before it adds a step's input. The
                # first reset discards what a bias did while nothing had arrived yet.
                reset_interval=length,
                reset_offset=(layer["latency"] + 2) % length,
                **self.registers(layer, self.plan[f"bias_{index}"]),
            )
            for index, (name, layer) in enumerate(self.layers.items())
        }

    def connect(self, source: AbstractProcess) -> None:
        """Connect the layers, and `source`, which sends the input, to them."""
        outputs = {name: neurons.s_out for name, neurons in self.neurons.items()}
        outputs[self.header["input"]["name"]] = source.s_out
        for index, connection in enumerate(self.header["connections"]):
            synapse = self._synapse(index, connection)
            outputs[connection["source"]].connect(synapse.s_in)
            synapse.a_out.connect(self.neurons[connection["target"]].a_in)

    def registers(self, layer: dict[str, Any], bias: np.ndarray) -> dict[str, Any]:
        """Register values of a layer; one unit is 64 steps of current and membrane."""
        return {
            "du": (4096 >> layer.get("current_decay_shift", 0)) - 1,
            "dv": 0 if (j := layer["decay_shift"]) is None else 4096 >> j,
            "vth": layer["threshold"] if layer["spiking"] else NEVER,
            "bias_mant": (bias << 6) >> layer["bias_exponent"],
            "bias_exp": layer["bias_exponent"],
        }

    def weights(
        self, connection: dict[str, Any], weights: csr_matrix
    ) -> dict[str, Any]:
        """Weights as 2 w, because Lava drops the lowest bit of mixed signs."""
        return {"weights": 2 * weights, "weight_exp": connection["shift"] - 1}

    def _synapse(self, index: int, connection: dict[str, Any]) -> Sparse | DelaySparse:
        arrays = (
            self.plan[f"{kind}_{index}"] for kind in ("weights", "columns", "rows")
        )
        weights = csr_matrix(tuple(arrays), shape=tuple(connection["shape"]))
        options = self.weights(connection, weights)
        options["num_message_bits"] = MESSAGE_BITS
        if not connection["delay"]:
            return Sparse(**options)
        delays = weights.astype(np.int64)
        delays.data[:] = connection["delay"]
        return DelaySparse(delays=delays, max_delay=connection["delay"], **options)


class Network(Processes):
    """The processes of one plan with inputs, which record spikes and membranes.

    Args:
        path: of plan.npz.
        inputs: [T, B, *input shape], as in golden.npz.

    Attributes:
        sinks: the recorder of each spiking layer, by name.
    """

    def __init__(self, path: str | Path, inputs: np.ndarray) -> None:
        super().__init__(path, len(inputs))
        self.samples = inputs.shape[1]
        deepest = max(p["latency"] for p in self.layers.values()) + 1
        self.steps = self.length * self.samples + deepest
        integers = np.ldexp(inputs, -self.header["input"]["exponent"]).astype(np.int32)
        rows = integers.swapaxes(0, 1).reshape(self.length * self.samples, -1)
        self.source = Source(data=np.pad(rows, ((0, deepest), (0, 0))).T)
        self.connect(self.source)
        self.sinks = {}
        for name, neurons in self.neurons.items():
            if self.layers[name]["spiking"]:
                self.sinks[name] = Sink(shape=neurons.s_out.shape, buffer=self.steps)
                neurons.s_out.connect(self.sinks[name].a_in)
        self.readout = list(self.layers)[-1]
        self.monitor = Monitor()
        self.monitor.probe(self.neurons[self.readout].v, self.steps)

    def run(self) -> None:
        """Run all samples and keep the records, then stop Lava's processes."""
        config = Loihi2SimCfg(select_tag="fixed_pt")
        self.source.run(condition=RunSteps(self.steps), run_cfg=config)
        self.recorded = {n: sink.data.get().T for n, sink in self.sinks.items()}
        (data,) = self.monitor.get_data().values()
        self.recorded_membranes = data["v"]
        self.source.stop()

    def spikes(self, name: str) -> np.ndarray:
        """Spikes of one layer, bool [T, B, *shape]."""
        spikes: np.ndarray = self._aligned(name, self.recorded[name]) != 0
        return spikes

    def membranes(self) -> np.ndarray:
        """The readout's membranes, volts [T, B, *shape]; the largest is the class."""
        layer = self.layers[self.readout]
        v = self._aligned(self.readout, self.recorded_membranes)
        volts: np.ndarray = np.ldexp(v, layer["exponent"] - 6) + layer["offset"]
        return volts

    def _aligned(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The rows of the input's steps, [T, B, *shape]."""
        layer = self.layers[name]
        first = layer["latency"] + 1
        kept = np.asarray(rows)[first : first + self.length * self.samples]
        return kept.reshape(self.samples, self.length, *layer["shape"]).swapaxes(0, 1)
