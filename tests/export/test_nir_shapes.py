"""Files whose writers broadcast parameters, or left out what can be inferred."""

import h5py
import nir
import numpy as np
import pytest

from export.from_nir import read
from export.nir_shapes import completed, joint_shape, spread
from stars.errors import FormatError
from stars.graph import reference

DT = 2.0**-10
SMALL = [((3,), ()), ((3,), (1,)), ((4, 5, 5), (4, 1, 1)), ((4, 5, 5), (1, 1, 1))]
FIELDS = {
    "IF": {"r": 1 / DT, "v_threshold": 1.0, "v_reset": 0.0},
    "LIF": {"tau": 2 * DT, "r": 1, "v_leak": 0.1, "v_threshold": 1, "v_reset": 0},
    "LI": {"tau": 2 * DT, "r": 1, "v_leak": 0.1},
    "CubaLI": {"tau_syn": DT, "tau_mem": 2 * DT, "r": 1, "v_leak": 0, "w_in": 2},
    "CubaLIF": {"tau_syn": 4 * DT, "tau_mem": 2 * DT, "r": 1, "v_leak": 0, "w_in": 2}
    | {"v_threshold": 1.0, "v_reset": -0.5},
    "I": {"r": 2 / DT},
    "Threshold": {"threshold": 1.5},
    "Scale": {"scale": 3.0},
    "Delay": {"delay": 2 * DT},
}


def network(path, kind, shape, small=None, fields=None):
    """A file with one node of `kind` (and a Threshold behind it, if it is a map)."""
    full = {name: np.full(shape, float(v)) for name, v in FIELDS[kind].items()}
    nodes = {
        "input": nir.Input(np.array(shape)),
        "node": getattr(nir, kind)(**full),
        "end": nir.Threshold(np.full(shape, 0.7)),
        "output": nir.Output(np.array(shape)),
    }
    edges = [("input", "node"), ("node", "end"), ("end", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    with h5py.File(path, "a") as file:
        for name in FIELDS[kind] if small is not None else ():
            if fields is None or name in fields:
                value = float(file[f"node/nodes/node/{name}"][()].flat[0])
                del file[f"node/nodes/node/{name}"]
                file[f"node/nodes/node/{name}"] = np.full(small, value)
    return read(path, dt=DT, steps=6)


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize(("shape", "small"), SMALL)
def test_a_broadcast_parameter_means_the_same_value_for_each_neuron(
    kind, shape, small, tmp_path
):
    want = network(tmp_path / "full.nir", kind, shape)
    assert network(tmp_path / "small.nir", kind, shape, small) == want
    some = list(FIELDS[kind])[-1:]  # the others have their full shape
    assert network(tmp_path / "some.nir", kind, shape, small, some) == want
    x = np.random.default_rng(0).random((6, 2, *shape)) * 3
    assert reference.run(want, x).spikes["end"].any()


def test_one_value_per_channel_differs_between_channels(tmp_path):
    network(tmp_path / "net.nir", "LIF", (2, 1, 3))
    with h5py.File(tmp_path / "net.nir", "a") as file:
        del file["node/nodes/node/v_threshold"]
        file["node/nodes/node/v_threshold"] = np.array([1.0, 2.0]).reshape(2, 1, 1)
    graph = read(tmp_path / "net.nir", dt=DT, steps=1)
    assert graph.nodes["node"].v_threshold.tolist() == [[[1, 1, 1]], [[2, 2, 2]]]


def test_an_axis_that_could_be_another_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"input has shape \(3, 3, 3\), expected"):
        network(tmp_path / "net.nir", "LIF", (3, 3, 3), (3,))


def test_parameters_of_a_population_without_an_input_keep_their_shape():
    assert spread(np.float64(2), None).shape == (1,)
    assert joint_shape([(), (4, 1, 1), (4, 5, 5), (1,)]) == (4, 5, 5)
    assert joint_shape([(2,), (3,)]) == (3,)
    assert completed({"type": "Conv1d", "bias": 1}) == {
        "type": "Conv1d",
        "input_shape": None,
        "bias": 1,
    }


@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d"])
def test_a_convolution_may_leave_out_its_input_shape(kind, tmp_path):
    axes, path = int(kind[4]), tmp_path / "net.nir"
    shape, after = (2, *[4] * axes), (3, *[4] * axes)
    spatial = 4 if axes == 1 else (4, 4)
    conv = getattr(nir, kind)(
        spatial, np.ones((3, 2, *[3] * axes)), 1, 1, 1, 1, np.zeros(3)
    )
    nodes = {
        "input": nir.Input(np.array(shape)),
        "conv": conv,
        "node": nir.IF(np.ones(after), np.ones(after)),
        "output": nir.Output(np.array(after)),
    }
    edges = [("input", "conv"), ("conv", "node"), ("node", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges))
    want = read(path, dt=1.0, steps=2)
    with h5py.File(path, "a") as file:
        del file["node/nodes/conv/input_shape"]
    assert read(path, dt=1.0, steps=2) == want
    assert want.shapes["node"] == after
