"""From the plan's integers to a Lava network: Sparse, DelaySparse and LIFReset.

Nothing is rounded here. In fixed point a weight q is stored as 2 q with a weight
exponent of -1, because the bit-accurate models drop the lowest bit of weights of mixed
sign; a shift is then always to the left and every sum is exact.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from scipy.sparse import csr_matrix

from job import Job
from memmap_source.process import MemmapSource
from plan_file import Connection, Plan, Population, read_plan
from recording import RecordingFixed, RecordingFloat

# More than one bit, so that graded inputs are not cast to bool; for spikes it makes no
# difference but speed.
MESSAGE_BITS = 24
DECAY_UNITY = 4096
# The largest threshold that a chip can hold, for what must never spike.
NEVER = 2**17 - 1
# Currents, biases and thresholds are aligned by << 6.
UNIT = 64


def build_fixed(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The bit-accurate network; returns one of its processes, and how to run it."""
    plan = read_plan(job.folder / "plan.npz")
    job.create_records(RecordingFixed.membrane_dtype)
    neurons = {
        population.name: fixed_population(population, job, index)
        for index, population in enumerate(plan.populations)
    }
    source = memmap_source(plan, job, factor=1)
    for connection in plan.connections:
        weights = connection.weights.astype(np.int32)
        weights.data *= 2
        synapse = sparse(connection, weights, weight_exp=connection.shift - 1)
        wire(connection, synapse, source, neurons)
    return source, run_config("fixed_pt", RecordingFixed)


def build_float(job: Job) -> tuple[AbstractProcess, Loihi2SimCfg]:
    """The floating-point network, in volts."""
    plan = read_plan(job.folder / "plan.npz")
    job.create_records(RecordingFloat.membrane_dtype)
    neurons = {
        population.name: float_population(population, job, index)
        for index, population in enumerate(plan.populations)
    }
    exponents = {p.name: p.exponent for p in plan.populations}
    source = memmap_source(plan, job, factor=2.0**plan.input_exponent)
    for connection in plan.connections:
        exponent = exponents[connection.target] + connection.shift
        if connection.source == plan.input_name:
            exponent -= plan.input_exponent
        weights = connection.weights.astype(np.float64)
        weights.data *= 2.0**exponent
        wire(connection, sparse(connection, weights), source, neurons)
    return source, run_config("floating_pt", RecordingFloat)


def fixed_population(population: Population, job: Job, index: int) -> LIFReset:
    """A population in units; Lava's models decay a current by (du + 1) / 4096."""
    shift = population.decay_shift
    exponent = population.bias_exponent
    neurons = LIFReset(
        shape=(population.size,),
        du=(DECAY_UNITY >> population.current_decay_shift) - 1,
        dv=0 if shift is None else DECAY_UNITY >> shift,
        vth=NEVER if population.threshold is None else population.threshold,
        bias_mant=population.bias * UNIT >> exponent,
        bias_exp=exponent,
        **job.reset(index),
    )
    return recorded(neurons, job, index)


def float_population(population: Population, job: Job, index: int) -> LIFReset:
    """A population in volts above v_reset."""
    shift, volt = population.decay_shift, 2.0**population.exponent
    threshold = population.threshold
    neurons = LIFReset(
        shape=(population.size,),
        du=2.0**-population.current_decay_shift,
        dv=0.0 if shift is None else 2.0**-shift,
        vth=np.inf if threshold is None else threshold * volt,
        bias_mant=population.bias * volt,
        **job.reset(index),
    )
    return recorded(neurons, job, index)


def recorded(neurons: LIFReset, job: Job, index: int) -> LIFReset:
    """The neurons, told where to write; the recording models read it."""
    neurons.proc_params["record"] = job.record(index)
    return neurons


def memmap_source(plan: Plan, job: Job, factor: float) -> MemmapSource:
    """The input, flat."""
    return MemmapSource(
        path=str(job.folder / "x.npy"),
        rows=job.rows,
        factor=factor,
        shape=(plan.input_size,),
    )


def sparse(
    connection: Connection, weights: csr_matrix, weight_exp: int = 0
) -> Sparse | DelaySparse:
    """The connection's process; it delays where branches have to meet."""
    if connection.delay == 0:
        return Sparse(
            weights=weights, weight_exp=weight_exp, num_message_bits=MESSAGE_BITS
        )
    delays = weights.astype(np.int64)
    delays.data[:] = connection.delay
    return DelaySparse(
        weights=weights,
        delays=delays,
        max_delay=connection.delay,
        weight_exp=weight_exp,
        num_message_bits=MESSAGE_BITS,
    )


def wire(
    connection: Connection,
    synapse: Sparse | DelaySparse,
    source: MemmapSource,
    neurons: dict[str, LIFReset],
) -> None:
    """Put `synapse` between its two populations; several into one a_in add."""
    before = neurons.get(connection.source, source)
    before.s_out.connect(synapse.s_in)
    synapse.a_out.connect(neurons[connection.target].a_in)


def run_config(tag: str, model: type) -> Loihi2SimCfg:
    """Lava's models of one tag, and the recording one for the neurons."""
    return Loihi2SimCfg(select_tag=tag, exception_proc_model_map={LIFReset: model})
