"""A Lava bundle in which anything was changed is refused, value by value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import export
import targets
from export import to_lava
from stars.config.models import DistillConfig
from stars.errors import FormatError
from stars.files.npz import read_npz
from stars.files.writing import read_json, sha256, write_json
from stars.graph.encoding import DirectEncoding
from stars.run_directory import Run
from stars.testing.random_graphs import random_graph, random_images
from targets.lava.bundle import WRITER, check_bundle, content, differing, leaves

FILES = (
    *("student.nir", "plan.npz", "net.net", "golden.npz"),
    *("plain_lava.py", "README.md", "manifest.json"),
)


@pytest.fixture(scope="module")
def graph():
    found = random_graph(np.random.default_rng(11), kind="vgg")
    assert isinstance(found.encoding, DirectEncoding)
    return found


@pytest.fixture(scope="module")
def written(graph, tmp_path_factory) -> Path:
    """A bundle and its network's NIR file; not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    export.write(graph, folder / "net.nir")
    to_lava.write(graph, folder / "lava")
    return folder / "lava"


@pytest.fixture
def bundle(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "lava"))


def another(value: Any) -> Any:
    """A value of the same type that differs in its last place, or is one more."""
    if isinstance(value, np.ndarray) and value.ndim:
        changed = value.copy()
        changed.flat[-1] = another(changed.flat[-1])
        return changed
    if isinstance(value, bool | np.bool_):
        return type(value)(not value)
    if isinstance(value, str | bytes):
        return value + ("x" if isinstance(value, str) else b"x")
    if isinstance(value, float | np.floating):
        return np.nextafter(value, type(value)(np.inf))
    if isinstance(value, int | np.integer):
        return type(value)(value + 1)
    return 7  # for null, and for an empty list


def put(tree: Any, name: str, value: Any) -> None:
    """Replace the value at a path in nested dicts and lists."""
    first, _, rest = name.partition("/")
    key = int(first) if isinstance(tree, list) else first
    if rest:
        put(tree[key], rest, value)
    else:
        tree[key] = value


def change(path: Path, *names: str) -> None:
    """Write the file again with other values at `names`, and its new checksum."""
    tree = content(path)
    values = {n: another(v) for n, v in leaves(tree) if n in names}
    assert values.keys() == set(names)
    for name, value in values.items():
        put(tree, name, value)
    if path.suffix in (".nir", ".net"):
        with h5py.File(path, "r+") as file:
            for name, value in values.items():
                del file[name]
                file[name] = value
    elif path.suffix == ".npz":
        if "header" in tree:
            tree["header"] = np.array(json.dumps(tree["header"]))
        np.savez(path, **tree)
    elif path.suffix == ".json":
        write_json(path, tree)
    else:
        path.write_bytes(b"\n".join(tree.values()) + b"\n")
    sign(path.parent)


def sign(folder: Path) -> None:
    """Put the checksums of the files into the manifest."""
    manifest = read_json(folder / "manifest.json")
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    write_json(folder / "manifest.json", manifest)


def test_a_bundle_is_that_of_its_network_and_of_no_other(graph, written):
    check_bundle(written, graph)
    other = random_graph(np.random.default_rng(12), kind="vgg")
    with pytest.raises(FormatError, match=r"is not that of the network: .* export it"):
        check_bundle(written, other)


def test_a_bundle_of_another_version_with_the_same_values_is_no_fault(graph, bundle):
    change(bundle / "manifest.json", WRITER[0])
    change(bundle / "student.nir", WRITER[1])
    check_bundle(bundle, graph)


def test_given_golden_images_are_no_fault(graph, tmp_path):
    images = random_images(np.random.default_rng(3), 5, graph.shapes[graph.input])
    to_lava.write(graph, tmp_path / "lava", images=images)
    check_bundle(tmp_path / "lava", graph)


@pytest.mark.parametrize("file", FILES)
def test_every_value_of_every_file_is_compared(file, written, bundle):
    names = [
        name
        for name, _ in leaves(content(written / file))
        if name not in WRITER and not name.startswith("files/")
    ]
    assert len(names) > 3
    change(bundle / file, *names)
    found = [text.partition(" is ")[0] for text in differing(file, bundle, written)]
    assert sorted(found) == sorted(f"{file}: {name}" for name in names)


def bias(folder: Path) -> str:
    names = dict(leaves(content(folder / "student.nir")))
    return next(name for name in names if name.endswith("/bias"))


def damage(path: Path) -> None:
    path.write_bytes(b"{")


def change_golden(folder: Path, start: str) -> None:
    names = read_npz(folder / "golden.npz")
    name = next(name for name in names if name.startswith(start))
    change(folder / "golden.npz", name)


def change_hash(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    manifest["files"]["plan.npz"] = "0" * 64
    write_json(folder / "manifest.json", manifest)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "student.nir: .*bias": lambda folder: change(folder / "student.nir", bias(folder)),
    "plan.npz: bias_1": lambda folder: change(folder / "plan.npz", "bias_1"),
    "plan.npz: header": lambda folder: change(folder / "plan.npz", "header/version"),
    "net.net: layer": lambda folder: change(folder / "net.net", "layer/1/bias"),
    "golden.npz: membranes_": lambda folder: change_golden(folder, "membranes_"),
    "golden.npz: spikes_": lambda folder: change_golden(folder, "spikes_"),
    "golden.npz: the certificate": lambda folder: change_golden(folder, "inputs"),
    "golden.npz: expected 'inputs'": lambda folder: np.savez(folder / "golden.npz"),
    "plain_lava.py: line 9": lambda folder: change(folder / "plain_lava.py", "line 9"),
    "README.md: line 3": lambda folder: change(folder / "README.md", "line 3"),
    "manifest.json: steps": lambda folder: change(folder / "manifest.json", "steps"),
    "manifest.json: files/plan.npz": change_hash,
    "net.net is missing": lambda folder: (folder / "net.net").unlink(),
    "student.nir: not an HDF5 file": lambda folder: damage(folder / "student.nir"),
    "golden.npz': not a readable": lambda folder: (folder / "golden.npz").unlink(),
    "manifest.json': damaged": lambda folder: damage(folder / "manifest.json"),
}


@pytest.mark.parametrize("message", CHANGES)
def test_parity_refuses_a_bundle_that_was_changed(message, graph, written, bundle):
    images = random_images(np.random.default_rng(1), 2, graph.shapes[graph.input])
    nir = written.with_name("net.nir")
    assert targets.parity(nir, images, on=["loihi"], bundle=bundle).ok
    CHANGES[message](bundle)
    with pytest.raises(FormatError, match=message):
        targets.parity(nir, images, on=["loihi"], bundle=bundle)


def test_files_of_others_are_no_fault_but_another_network_is(tmp_path):
    """This network has no net.net, which a deployer would load."""
    graph = random_graph(np.random.default_rng(11), kind="residual")
    to_lava.write(graph, tmp_path / "lava")
    (tmp_path / "lava" / "__pycache__").mkdir()
    (tmp_path / "lava" / "notes.txt").write_text("mine")
    check_bundle(tmp_path / "lava", graph)
    (tmp_path / "lava" / "net.net").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"net\.net is not part of it"):
        check_bundle(tmp_path / "lava", graph)


def test_another_number_of_steps_that_was_asked_for_is_no_fault(graph, written):
    images = random_images(np.random.default_rng(1), 2, graph.shapes[graph.input])
    nir = written.with_name("net.nir")
    on = ["loihi"]
    assert targets.parity(nir, images, on=on, bundle=written, steps=3).ok


def test_a_network_that_left_the_grid_is_not_that_of_the_bundle(written):
    graph = random_graph(np.random.default_rng(11), kind="vgg", on_grid=False)
    with pytest.raises(FormatError, match="not on the grid"):
        check_bundle(written, graph)


def test_a_run_has_its_own_bundle_checked(graph, written, tmp_path):
    run = Run.create(tmp_path / "run", DistillConfig())
    shutil.copytree(written, run.bundle_path)
    export.write(graph, run.graph_path)
    images = random_images(np.random.default_rng(1), 2, graph.shapes[graph.input])
    assert targets.parity(run, images, on=["loihi"]).ok
    change(run.bundle_path / "manifest.json", "neurons")
    with pytest.raises(FormatError, match=r"manifest\.json: neurons is"):
        targets.parity(run, images, on=["loihi"])
