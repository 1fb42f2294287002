"""The energy report: plain JSON with the range and warnings about silence."""

from __future__ import annotations

import json

import numpy as np
from energy_graphs import dense, measured

from stars.testing.random_graphs import random_graph, random_inputs
from targets.energy_model.report import report
from targets.hardware.costs import (
    TABLES,
    load_table,
)
from targets.parity_check.report import SILENT

# -- networks without spikes, and reports


def test_a_report_is_plain_json_and_names_the_range():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    counts = measured(graph, np.array(random_inputs(rng, graph, 3)))
    found = report(counts, [load_table(name) for name in TABLES])
    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    joules = [one["joules_per_image"] for one in said["estimates"]]
    assert said["range"]["joules_per_image"] == [min(joules), max(joules)]
    assert len(said["sentences"]) == len(TABLES)
    assert "the SNN (accuracy not measured) needs" in said["sentences"][-1]
    assert said["warnings"] == []
    assert said["teacher"]["known"] is False
    assert 0 < said["counts"]["spike_rate"] < 1


def test_a_report_prints_as_its_range_and_a_table():
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="vgg")
    counts = measured(graph, np.array(random_inputs(rng, graph, 3)))
    tables = [load_table("loihi1"), load_table("horowitz45")]
    found = report(counts, tables)
    lines = str(found).splitlines()
    assert lines[0] == f"energy: {found.range_sentence}"
    assert found.range_sentence.count("J (") == 2
    assert found.range_sentence.endswith(") per image")
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "cost table",
        *(table.title for table in tables),
    ]
    assert found._repr_html_().count("<tr>") == 3


def test_silence_is_warned_of():
    graph = dense(4, 5, 2)
    counts = measured(graph, np.zeros((2, 1, 4)))
    found = report(counts, [load_table("horowitz45-int8")])
    assert found.warnings == (SILENT,)
    assert "no spikes to save" in found.sentences[0]
