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


def test_the_example_of_a_network_of_ones_own_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = python_example("nir.md")
    exec(compile(example, "docs/nir.md", "exec"), {})
    comments = re.findall(r"# -> (.*)$", example, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == comments


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
