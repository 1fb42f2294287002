"""The file of a plan: it is read back whole, or refused."""

from __future__ import annotations

import json
import zipfile
from itertools import pairwise

import numpy as np
import pytest

from stars.errors import FormatError
from stars.graph.nodes import (
    LIF,
    Affine,
    Input,
    Output,
)
from stars.graph.spiking_graph import SpikingGraph
from stars.grid.lowering import lower
from stars.grid.plan_file import read_plan, write_plan
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph

DT = 2.0**-10


def chain(*nodes, steps=4, encoding=None):
    """The nodes one after the other; 'in', 'n0', 'n1', ..., 'out'."""
    middle = {f"n{i}": node for i, node in enumerate(nodes[1:])}
    named = {"in": nodes[0], **middle, "out": Output()}
    return SpikingGraph(named, tuple(pairwise(named)), DT, steps, encoding)


def lif(*shape, tau=2 * DT, **changes):
    return LIF.uniform(shape, tau=tau, **changes)


def affine(weight, bias=None):
    return Affine(weight, np.zeros(len(weight)) if bias is None else bias)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_survives_its_file(kind, tmp_path):
    plan = lower(random_graph(np.random.default_rng(3), kind=kind))
    write_plan(tmp_path / "plan.npz", plan)
    again = read_plan(tmp_path / "plan.npz")
    write_plan(tmp_path / "again.npz", again)
    assert (tmp_path / "plan.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    for left, right in zip(plan.connections, again.connections, strict=True):
        assert (left.source, left.target, left.shift) == (
            right.source,
            right.target,
            right.shift,
        )
        np.testing.assert_array_equal(left.weights.toarray(), right.weights.toarray())
        assert (left.convolution is None) == (right.convolution is None)
        if left.convolution is not None:
            assert left.convolution.geometry == right.convolution.geometry
            np.testing.assert_array_equal(
                left.convolution.kernel, right.convolution.kernel
            )
    for left, right in zip(plan.populations, again.populations, strict=True):
        np.testing.assert_array_equal(left.bias, right.bias)
        assert (left.shape, left.threshold) == (right.shape, right.threshold)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_plan_is_readable_with_numpy_and_json_alone(tmp_path):
    plan = lower(chain(Input((1,)), affine([[1.5]]), lif(1)))
    write_plan(tmp_path / "plan.npz", plan)
    with np.load(tmp_path / "plan.npz", allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        assert sorted(file.files) == [
            "bias_0",
            "columns_0",
            "header",
            "input_high",
            "input_low",
            "rows_0",
            "weights_0",
        ]
        assert file["weights_0"].tolist() == [3]
    assert header["populations"] == [
        {
            "name": "n1",
            "shape": [1],
            "spiking": True,
            "exponent": -2,
            "decay_shift": 1,
            "threshold": 4,
            "bias_exponent": 6,
            "latency": 0,
            "offset": 0.0,
        }
    ]
    assert header["connections"] == [
        {"source": "in", "target": "n1", "shape": [1, 1], "shift": 0, "delay": 0}
    ]


def test_a_plan_says_a_memory_only_where_there_is_one(tmp_path):
    """So that programs of the first version read what they can, and refuse the rest."""
    path = tmp_path / "plan.npz"
    for kind, version, known in (("vgg", 1, False), ("cuba", 2, True)):
        write_plan(path, lower(random_graph(np.random.default_rng(0), kind=kind)))
        with np.load(path) as file:
            header = json.loads(str(file["header"]))
        assert header["version"] == version
        fields = [set(p) for p in header["populations"]]
        assert all(("current_decay_shift" in names) == known for names in fields)
    shifts = {p.name: p.current_decay_shift for p in read_plan(path).populations}
    assert shifts == {"cuba0": 1, "lif0": 0, "cuba1": 1, "cuba2": 1, "readout": 0}


@pytest.fixture
def plan_file(tmp_path):
    path = tmp_path / "plan.npz"
    write_plan(path, lower(random_graph(np.random.default_rng(0), kind="residual")))
    return path


def rewritten(path, change):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(str(arrays["header"]))
    change(header, arrays)
    arrays["header"] = np.array(json.dumps(header))
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, _: h.update(version=3), "version 3; this program reads versions 1"),
        (lambda h, _: h.update(format="x"), "its header does not say"),
        (lambda h, _: h.pop("populations"), "is not a plan, or is damaged"),
        (
            lambda h, _: h["populations"][0].update(threshold=None),
            "'lif0' has impossible",
        ),
        (
            lambda h, _: h["populations"][0].update(current_decay_shift=13),
            "the current of 'lif0' decays by no 12-bit fraction",
        ),
        (lambda h, _: h["connections"][0].update(target="x"), "does not fit"),
        (
            lambda h, _: h["connections"][0]["convolution"].update(stride=[2, 2]),
            "'lif0' is not the convolution that the plan's header describes",
        ),
        (
            lambda h, _: h["connections"][0]["convolution"].update(kernel=[10**9] * 2),
            "is not the convolution",
        ),
        (
            lambda h, _: h["connections"][0]["convolution"].update(groups=-1),
            "is not a plan, or is damaged",
        ),
        (lambda _, a: a["weights_0"].__setitem__(0, 1), "is not the convolution"),
        (
            lambda h, _: h["populations"][0].update(shape=[3, 12, 8]),
            "convolution 'input' -> 'lif0' does not fit",
        ),
        (lambda _, a: a.pop("weights_1"), "weights_1"),
        (lambda _, a: a["weights_0"].fill(200), "exceed 8 bits"),
        (lambda _, a: a["columns_0"].fill(10**6), "is not a plan, or is damaged"),
        (lambda _, a: a.update(bias_0=np.zeros(1, np.int64)), "the bias of 'lif0'"),
        (lambda _, a: a.update(input_low=np.zeros(1, np.int64)), "interval"),
    ],
)
def test_an_unsound_plan_is_refused(plan_file, change, message):
    rewritten(plan_file, change)
    with pytest.raises(FormatError, match=message):
        read_plan(plan_file)


def test_a_plan_without_geometries_is_read(plan_file):
    """As programs wrote it before there were any."""
    rewritten(
        plan_file, lambda h, _: [c.pop("convolution", 0) for c in h["connections"]]
    )
    assert all(c.convolution is None for c in read_plan(plan_file).connections)


def test_a_missing_foreign_or_damaged_file_is_refused(plan_file, tmp_path):
    with pytest.raises(FormatError, match="does not exist"):
        read_plan(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not a plan")
    with pytest.raises(FormatError, match="not a plan, or damaged"):
        read_plan(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(FormatError, match="not a plan"):
        read_plan(tmp_path / "array.npy")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(FormatError, match="it has no header"):
        read_plan(tmp_path / "other.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("header.npy", b"nothing")
    with pytest.raises(FormatError):
        read_plan(tmp_path / "zip.npz")
    whole = plan_file.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        plan_file.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_plan(plan_file)
    middle = len(whole) // 2
    plan_file.write_bytes(whole[:middle] + b"\0\0\0\0" + whole[middle + 4 :])
    with pytest.raises(FormatError):
        read_plan(plan_file)
