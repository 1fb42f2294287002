"""The compiled program equals the reference; a change of its source is found."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cli.main import main
from export.c.folder import write
from export.to_nir import write as write_nir
from stars.errors import DataError, FormatError, MissingDependencyError, TargetError
from stars.graph import reference
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.kinds import KINDS
from stars.testing.random_graphs import random_graph, random_images, random_inputs
from targets.c import target as module
from targets.c.target import CTarget, compiler


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(list(KINDS)),
    decay_shift=st.sampled_from([1, 2, 4]),
    steps=st.sampled_from([1, 3]),
)
def test_a_compiled_program_equals_the_reference(seed, kind, decay_shift, steps):
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, kind=kind, decay_shift=decay_shift, steps=steps)
    inputs, target = random_inputs(rng, graph, 3), CTarget()
    desired, actual = reference.run(graph, inputs), target.run(graph, inputs)
    assert_same_spikes(actual, desired)
    assert_same_membranes(actual, desired)
    forced = target.run(graph, inputs, desired)
    assert_same_spikes(forced, desired)
    assert_same_membranes(forced, desired)


@pytest.fixture
def graph() -> SpikingGraph:
    return random_graph(np.random.default_rng(11), kind="residual")


def test_an_input_that_changes_at_each_step_is_not_held(graph):
    rng = np.random.default_rng(0)
    images = [random_inputs(rng, graph, 2)[0] for _ in range(graph.steps)]
    inputs = np.stack(images)
    assert (inputs[0] != inputs[1]).any()
    assert_same_spikes(CTarget().run(graph, inputs), reference.run(graph, inputs))


def test_forced_spikes_keep_an_error_in_its_layer(graph):
    inputs = random_inputs(np.random.default_rng(0), graph, 4)
    target, desired = CTarget(), reference.run(graph, inputs)
    silent = {name: np.zeros_like(v) for name, v in desired.spikes.items()}
    given = type(desired)(silent, desired.membranes, desired.readout)
    forced = target.run(graph, inputs, given)
    first = graph.neurons[0]
    assert (forced.spikes[first] == desired.spikes[first]).all()
    other = graph.neurons[2]
    assert (forced.spikes[other] != desired.spikes[other]).any()


def changed_weight(folder: Path, link: str) -> None:
    """Move the largest weight of a connection one step toward zero."""
    source = folder / "network.c"
    text = source.read_text()
    found = re.search(rf"{link}_weights\[\d+\] = \{{(.*?)\}}", text, re.S)
    assert found is not None
    numbers = [int(n) for n in found[1].split(",")]
    largest = int(np.abs(numbers).argmax())
    numbers[largest] -= int(np.sign(numbers[largest]))
    new = ", ".join(map(str, numbers))
    source.write_text(text[: found.start(1)] + new + text[found.end(1) :])


def test_a_weight_off_by_one_in_the_source_exits_with_3_and_names_the_place(
    graph, tmp_path, capsys
):
    write_nir(graph, tmp_path / "net.nir")
    write(graph, tmp_path / "net")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", random_images(rng, 4, graph.shapes[graph.input]))
    command = ["parity", str(tmp_path / "net.nir"), "--target", "c", "--json"]
    command += ["--inputs", str(tmp_path / "images.npy")]
    command += ["--substitute", f"c={tmp_path / 'net'}"]

    def parity() -> tuple[int, dict]:
        return main(command), json.loads(capsys.readouterr().out)

    code, report = parity()
    assert (code, report["ok"]) == (0, True)
    changed_weight(tmp_path / "net", "link_2_0")
    code, report = parity()
    assert code == 3
    (found,) = report["targets"]
    assert found["first_divergence"]["node"] == graph.neurons[2] == "block0_lif1"
    assert found["state_forced"]["first_divergence"]["node"] == "block0_lif1"


def test_sources_of_another_network_and_other_folders_are_refused(graph, tmp_path):
    inputs = random_inputs(np.random.default_rng(0), graph, 1)
    write(random_graph(np.random.default_rng(1), kind="residual"), tmp_path / "net")
    with pytest.raises(FormatError, match="another network"):
        CTarget(tmp_path / "net").run(graph, inputs)
    with pytest.raises(FormatError, match="no folder of C sources"):
        CTarget(tmp_path).run(graph, inputs)
    manifest = tmp_path / "net" / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "name": "../../network"}))
    with pytest.raises(FormatError, match=r"expected 'stars\.c', 1 and an identifier"):
        CTarget(tmp_path / "net").run(graph, inputs)


def test_inputs_off_the_grid_are_refused(graph):
    inputs = random_inputs(np.random.default_rng(0), graph, 1) + 2.0**-9
    with pytest.raises(DataError, match="allowed are multiples"):
        CTarget().run(graph, inputs)


@pytest.mark.parametrize(
    ("body", "said"),
    [("abort();", "killed by SIGABRT"), ("for (;;) {}", "not done after 1 s")],
)
def test_a_crash_and_a_loop_without_end_are_one_error(graph, tmp_path, body, said):
    write(graph, tmp_path / "net")
    source = tmp_path / "net" / "network.c"
    begin = "struct network_state *state, const int8_t *input)\n{\n"
    text = source.read_text().replace(begin, f"{begin}    {body}\n")
    source.write_text("#include <stdlib.h>\n" + text)
    target = CTarget(tmp_path / "net", seconds=1.0)
    inputs = random_inputs(np.random.default_rng(0), graph, 1)
    with pytest.raises(TargetError, match=f"target 'c': the program failed: .*{said}"):
        target.run(graph, inputs)
    source.write_text("no C\n" + text)
    with pytest.raises(TargetError, match=r"the C compiler failed[\s\S]*network\.c:1:"):
        CTarget(tmp_path / "net").run(graph, inputs)


def test_the_program_ends_when_the_writer_of_its_input_does(graph):
    target = CTarget()
    compiled = target.compile(graph)
    command = [compiled.folder / "program", "/dev/stdin", "out", "9", "4", "1", "0"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=compiled.folder
    )
    _, said = process.communicate(b"\0" * 67, 60)
    assert process.returncode == 1
    assert said == b"the input ends too early\n"


def test_compiled_programs_are_removed_with_their_target(graph):
    target = CTarget()
    target.run(graph, random_inputs(np.random.default_rng(0), graph, 1))
    folder = target._last.folder
    assert (folder / "program").exists()
    assert not [path for path in folder.iterdir() if path.is_dir()]
    del target
    assert not folder.exists()


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'stars-snn\[c\]'"):
        compiler()
    assert "no C compiler" in CTarget().unavailable()
    monkeypatch.setattr(module, "find_spec", lambda _: object())
    assert compiler() == [sys.executable, "-m", "ziglang", "cc"]


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang is not installed")
def test_ziglang_compiles_where_the_system_has_no_compiler(graph, monkeypatch):
    monkeypatch.setattr(module, "COMPILERS", ())
    inputs = random_inputs(np.random.default_rng(0), graph, 2)
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
    target = CTarget(flags=(*module.FLAGS, *strict, "-Wno-sign-conversion"))
    assert_same_spikes(target.run(graph, inputs), reference.run(graph, inputs))
