"""The documentation's examples are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from cli.main import main
from export import to_lava, to_nir
from export.to_onnx import write
from stars.graph import reference
from stars.graph.nodes import LIF
from stars.testing.random_graphs import random_graph, random_images, random_inputs

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


def commands(page: str) -> list[str]:
    """The lines that run `stars` in a page's blocks of shell, comments left out."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("stars ")]


def test_the_way_to_lava_can_be_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind="conv", on_grid=False)
    for name, ratio in (("float", 2), ("other", 3)):
        tau = ratio * graph.dt
        uniform = {n: LIF.uniform(graph.shapes[n], tau=tau) for n in graph.spiking}
        file = to_nir.to_nir(graph.replace_nodes(uniform))
        if name == "other":
            file.metadata = {}
        nir.write(tmp_path / f"{name}.nir", file)
    images = random_images(rng, 5, graph.shapes[graph.input])
    np.save(tmp_path / "images.npy", images)
    np.savez(tmp_path / "test.npz", images=images, labels=np.arange(5) % 4)
    monkeypatch.chdir(tmp_path)
    lines = commands("deploy.md")
    assert {line.split()[1] for line in lines} == {
        "quantize",
        "check",
        "export",
        "parity",
    }
    for line in lines:
        code = main(["--quiet", *shlex.split(line, comments=True)[1:]])
        assert code == 0, (line, capsys.readouterr().err)
    found = {path.name for path in (tmp_path / "bundle").iterdir()}
    text = (DOCS / "deploy.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)) == found


def test_the_lines_for_plain_lava_are_those_of_the_bundles_readme(
    tmp_path: Path,
) -> None:
    """tests/export/test_to_lava.py runs them in Lava's environment."""
    to_lava.write(random_graph(np.random.default_rng(0), kind="mlp"), tmp_path / "b")
    text = (tmp_path / "b/README.md").read_text(encoding="utf-8")
    assert f"```python\n{python_example('deploy.md')}```" in text


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
