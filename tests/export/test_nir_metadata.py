"""Our entries count in our files alone, in those of older formats too."""

import h5py
import nir
import numpy as np
import pytest

from export.from_nir import from_nir, read
from export.to_nir import to_nir, write
from stars.errors import FormatError
from stars.grid.rewrite import with_truncating_decay
from stars.testing.random_graphs import random_graph

FOREIGN = {
    "k": '["1/4"]',
    "membrane_step": 0.25,
    "stars": {"k": '["1/4"]', "membrane_step": 0.25},
}


def foreign(node_entries, graph_entries):
    one = np.ones(3)
    lif = nir.LIF(2 * one, one, 0 * one, one, 0 * one, metadata=node_entries)
    shape = np.array([3])
    return nir.NIRGraph(
        {"input": nir.Input(shape), "lif": lif, "output": nir.Output(shape)},
        [("input", "lif"), ("lif", "output")],
        metadata=graph_entries,
        type_check=False,
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_entries_that_another_tool_attaches_change_nothing(name):
    want = from_nir(foreign({}, {}), dt=1.0, steps=4)
    entries = {name: FOREIGN[name]}
    assert from_nir(foreign(entries, entries), dt=1.0, steps=4).nodes == want.nodes
    marks = {"dt": 5.0, "steps": 9, "order": "[]", "encoding": 1, "time_unit": "ms"}
    assert from_nir(foreign(entries, marks), dt=1.0, steps=4).nodes == want.nodes


def test_an_entry_of_another_tool_in_our_file_changes_nothing(tmp_path):
    graph = random_graph(np.random.default_rng(0), kind="mlp")
    nir_graph = to_nir(graph)
    nir_graph.nodes["lif0"].metadata["membrane_step"] = 0.25
    nir_graph.metadata["dt"] = 7.0
    nir.write(tmp_path / "net.nir", nir_graph)
    assert read(tmp_path / "net.nir") == graph


@pytest.mark.parametrize("kind", ["residual", "cuba", "recurrent"])
def test_files_of_format_3_are_still_read(kind, tmp_path):
    graph = random_graph(np.random.default_rng(0), kind=kind)
    if kind != "recurrent":
        graph = with_truncating_decay(graph)
    write(graph, tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir", "a") as file:
        for place in ("node", *(f"node/nodes/{name}" for name in graph.nodes)):
            said = file[place].get("metadata")
            for name in [] if said is None else list(said["stars"]):
                said.move(f"stars/{name}", name)
        file["node/metadata/stars_format"][()] = 3
    assert read(tmp_path / "net.nir") == graph


def test_a_mark_without_entries_is_damage():
    with pytest.raises(FormatError, match="metadata 'stars' is missing or damaged"):
        from_nir(foreign({}, {"stars_format": 4}))
