"""The Lava bundle: complete, true to its manifest, and whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import to_lava
from export.from_nir import read
from stars.errors import DataError, GraphError, LimitError
from stars.graph import reference
from stars.grid.lowering import lower
from stars.grid.plan_file import read_plan
from stars.testing.random_graphs import random_graph, random_images
from targets.loihi.emulator import emulate

FILES = {"student.nir", "plan.npz", "golden.npz", "manifest.json", "README.md"}
FILES |= {"plain_lava.py"}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def manifest_of(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(("kind", "netx"), [("residual", False), ("vgg", True)])
def test_a_bundle_is_complete(
    kind: str, netx: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind=kind)
    manifest = to_lava.write(graph, tmp_path / "lava")
    found = {path.name for path in (tmp_path / "lava").iterdir()}
    assert found == (FILES | {"net.net"} if netx else FILES)
    assert (manifest["netx_refused"] is None) == netx
    assert manifest_of(tmp_path / "lava") == as_json(manifest)
    assert read(tmp_path / "lava/student.nir") == graph
    assert manifest["certificate"]["ok"]


def test_the_manifest_names_every_file_by_its_hash(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    manifest = to_lava.write(random_graph(rng, kind="mlp"), tmp_path / "lava")
    assert set(manifest["files"]) == (FILES | {"net.net"}) - {"manifest.json"}
    for name, digest in manifest["files"].items():
        content = (tmp_path / "lava" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest


def test_golden_vectors_hold_for_the_plan_beside_them(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    """From the files alone: the integers make the spikes that the reference made."""
    graph = random_graph(rng, kind="shortcut")
    to_lava.write(graph, tmp_path / "lava")
    golden = np.load(tmp_path / "lava/golden.npz")
    trace = emulate(read_plan(tmp_path / "lava/plan.npz"), golden["inputs"])
    for name in graph.spiking:
        assert np.array_equal(trace.spikes[name], golden[f"spikes_{name}"])
        assert golden[f"spikes_{name}"].any()
    readout = trace.membranes[graph.readout]
    assert np.array_equal(readout, golden[f"membranes_{graph.readout}"])


def test_given_images_are_the_golden_inputs(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind="conv")
    images = random_images(rng, 11, graph.shapes[graph.input])
    to_lava.write(graph, tmp_path / "lava", images=images)
    golden = np.load(tmp_path / "lava/golden.npz")
    assert graph.encoding is not None
    expected = graph.encoding.encode(images[:8], graph.steps)
    assert np.array_equal(golden["inputs"], expected)


def test_equal_graphs_give_equal_bundles(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind="vgg")
    first = to_lava.write(graph, tmp_path / "a")
    assert to_lava.write(graph, tmp_path / "b") == first


def test_refuses_a_graph_off_the_grid(rng: np.random.Generator, tmp_path: Path) -> None:
    graph = random_graph(rng, kind="mlp", on_grid=False)
    with pytest.raises(GraphError, match="not on the grid"):
        to_lava.write(graph, tmp_path / "lava")
    assert list(tmp_path.iterdir()) == []


def test_refuses_images_for_a_graph_of_spikes(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind="mlp")
    with pytest.raises(DataError, match="takes spikes"):
        to_lava.write(graph, tmp_path / "lava", images=random_images(rng, 1, (1, 8, 8)))


def test_a_failure_leaves_the_old_bundle(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = random_graph(rng, kind="mlp")
    first = to_lava.write(graph, tmp_path / "lava")

    def fail(*_: object) -> None:
        raise LimitError("disk", ["full"])

    monkeypatch.setattr(to_lava, "write_plan", fail)
    with pytest.raises(LimitError):
        to_lava.write(random_graph(rng, kind="conv"), tmp_path / "lava")
    assert [path.name for path in tmp_path.iterdir()] == ["lava"]
    assert manifest_of(tmp_path / "lava") == as_json(first)


def test_a_new_bundle_takes_the_place_of_the_old(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    to_lava.write(random_graph(rng, kind="mlp"), tmp_path / "lava")
    graph = random_graph(rng, kind="residual")
    to_lava.write(graph, tmp_path / "lava")
    assert read(tmp_path / "lava/student.nir") == graph
    assert not (tmp_path / "lava/net.net").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["lava"]


def test_does_not_replace_what_is_not_a_bundle(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    with pytest.raises(DataError, match="is not a Lava bundle"):
        to_lava.write(random_graph(rng, kind="mlp"), tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter.txt").exists()


def readme_program(folder: Path) -> str:
    """The first block of Python in a bundle's README."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]


@pytest.fixture
def run_plainly(lava_python: Path) -> Callable[[Path], tuple[int, str, str]]:
    """Runs a bundle's README where Lava is, without us; code, stdout, stderr."""

    def run(folder: Path) -> tuple[int, str, str]:
        command = [lava_python, "-E", "-s", "-c", readme_program(folder)]
        with subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, errors = process.communicate(timeout=60)
            finally:  # Lava's own processes outlive a run that failed
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, out, errors

    return run


@pytest.mark.lava
@pytest.mark.parametrize(
    ("kind", "steps"), [("vgg", 4), ("residual", 3), ("mlp", 1), ("cuba", 4)]
)
def test_the_lines_of_its_readme_run_in_plain_lava(
    kind: str, steps: int, run_plainly, rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind=kind, steps=steps)
    to_lava.write(graph, tmp_path / "lava")
    golden = np.load(tmp_path / "lava/golden.npz")
    assert all(golden[f"spikes_{name}"].any() for name in graph.spiking)
    code, out, errors = run_plainly(tmp_path / "lava")
    assert code == 0, errors
    classes = golden[f"membranes_{graph.readout}"][-1].argmax(-1)
    assert out == f"classes: {classes}\n"


@pytest.mark.lava
def test_the_lines_of_its_readme_see_one_wrong_spike(
    run_plainly, rng: np.random.Generator, tmp_path: Path
) -> None:
    graph = random_graph(rng, kind="mlp")
    to_lava.write(graph, tmp_path / "lava")
    golden = dict(np.load(tmp_path / "lava/golden.npz"))
    golden["spikes_lif1"][-1, -1, -1] ^= True
    np.savez(tmp_path / "lava/golden.npz", **golden)
    code, out, errors = run_plainly(tmp_path / "lava")
    assert (code, out) == (1, "")
    assert "AssertionError: lif1" in errors


def test_the_plan_is_the_graphs_own(rng: np.random.Generator, tmp_path: Path) -> None:
    graph = random_graph(rng, kind="residual")
    to_lava.write(graph, tmp_path / "lava")
    golden = np.load(tmp_path / "lava/golden.npz")["inputs"]
    ours = emulate(read_plan(tmp_path / "lava/plan.npz"), golden)
    theirs = emulate(lower(graph), golden)
    for name in graph.neurons:
        assert np.array_equal(ours.membranes[name], theirs.membranes[name])
    assert ours.readout == reference.run(graph, golden).readout
