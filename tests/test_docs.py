"""The documentation's examples are run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.to_onnx import write
from stars import reference
from stars.testing import random_graph, random_inputs

DOCS = Path(__file__).parents[1] / "docs"


def python_example(page: str) -> str:
    """The one block of Python in a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_streaming_example_sees_what_the_reference_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="residual")
    inputs = random_inputs(rng, graph, 1, steps=9)
    write(graph, tmp_path / "student.onnx")
    monkeypatch.chdir(tmp_path)
    chunks = np.split(inputs.astype(np.float32), [2, 3, 7])
    names: dict[str, Any] = {"camera": lambda: iter(chunks)}
    exec(compile(python_example("onnx.md"), "docs/onnx.md", "exec"), names)
    desired = reference.run(graph, inputs).membranes
    for name in graph.neurons:
        np.testing.assert_array_equal(
            names["state"][f"state/{name}"], desired[name][-1]
        )
    classes = [desired[graph.readout][end - 1].argmax(-1) for end in (2, 3, 7, 9)]
    assert capsys.readouterr().out.splitlines() == [
        f"class so far: {one}" for one in classes
    ]


def test_every_fault_in_the_table_names_a_test_that_exists() -> None:
    text = (DOCS / "robustness.md").read_text(encoding="utf-8")
    rows = [x for x in text.splitlines() if x.startswith("| ") and "fault |" not in x]
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", text)
    assert len(named) == len(rows) > 20
    for path, name in named:
        source = (DOCS.parent / path).read_text(encoding="utf-8")
        assert f"\ndef {name}(" in source, name
