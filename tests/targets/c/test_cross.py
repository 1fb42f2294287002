"""The C as WebAssembly and as firmware: the same spikes, and the board's memory."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from cross_tools import need

from export.c.folder import write
from export.golden import golden_inputs
from stars.errors import TargetError
from stars.graph import reference
from stars.testing.assertions import assert_same_membranes, assert_same_spikes
from stars.testing.random_graphs import random_graph, random_images, random_inputs
from targets import table
from targets.api import parity
from targets.c import cross
from targets.c.cross import AN386, COMPILER, MOST_IMAGES, ArmTarget
from targets.chip.program import CODE_BYTES

pytestmark = pytest.mark.cross


@pytest.fixture(params=MOST_IMAGES)
def target(request):
    """A target; the test skips without its tools, or fails with STARS_REQUIRE_CROSS."""
    found = table.load(request.param)
    need(found)
    return found


@pytest.fixture
def arm():
    found = ArmTarget()
    need(found)
    return found


@pytest.mark.parametrize("kind", ["shortcut", "cuba", "conv1d"])
def test_another_machine_has_the_same_spikes_and_membranes(target, kind):
    rng = np.random.default_rng(3)
    graph = random_graph(rng, kind=kind)
    inputs = random_inputs(rng, graph, 8)
    desired = reference.run(graph, inputs)
    for forced in (None, desired):
        actual = target.run(graph, inputs, forced)
        assert_same_spikes(actual, desired)
        assert_same_membranes(actual, desired)


def test_parity_runs_it_on_few_images_and_finds_another_network(target):
    rng = np.random.default_rng(3)
    graph = random_graph(rng, kind="conv")
    images = random_images(rng, 10, graph.shapes[graph.input])
    report = parity(graph, images, on=[target.name])
    assert report.ok
    assert report.images == min(10, MOST_IMAGES[target.name])
    assert report.targets[0].state_forced.ran


def test_a_crash_is_one_error(target, tmp_path):
    graph = random_graph(np.random.default_rng(3), kind="mlp")
    write(graph, tmp_path / "net")
    source = tmp_path / "net" / "network.c"
    begin = "struct network_state *state, const int8_t *input)\n{\n"
    text = source.read_text()
    assert begin in text
    source.write_text(
        "#include <stdlib.h>\n" + text.replace(begin, f"{begin} abort();")
    )
    with pytest.raises(TargetError, match=f"target '{target.name}': the .* failed"):
        replace(target, path=tmp_path / "net").run(graph, golden_inputs(graph))


def test_a_board_with_too_little_memory_refuses_the_program(arm):
    graph = random_graph(np.random.default_rng(3), kind="residual")
    inputs = golden_inputs(graph)
    small_ram = replace(AN386, ram=(AN386.ram[0], 30 << 10))
    with pytest.raises(TargetError, match=r"compiler failed[\s\S]*(RAM|region)"):
        replace(arm, board=small_ram).run(graph, inputs)
    small_flash = replace(AN386, flash=(0, 8 << 10))
    with pytest.raises(TargetError, match=r"FLASH[\s\S]*overflowed"):
        replace(arm, board=small_flash).run(graph, inputs)


@pytest.mark.parametrize(
    "cpu", ["cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55"]
)
@pytest.mark.parametrize("kind", ["mlp", "residual", "cuba", "conv1d"])
def test_code_and_constants_stay_within_what_is_said(arm, cpu, kind, tmp_path):  # noqa: ARG001
    manifest = write(random_graph(np.random.default_rng(3), kind=kind), tmp_path / "c")
    flags = ["-std=c99", "-O2", f"-mcpu={cpu}", "-mthumb", "-c", "network.c"]
    subprocess.run([COMPILER, *flags], cwd=tmp_path / "c", check=True)
    size = [shutil.which("arm-none-eabi-size") or "", "network.o"]
    done = subprocess.run(size, cwd=tmp_path / "c", capture_output=True, check=True)
    text, data, bss = map(int, done.stdout.split()[6:9])
    assert data == bss == 0
    assert text <= manifest["flash_bytes"] + CODE_BYTES
    assert text > manifest["flash_bytes"] - 200


def test_missing_tools_are_named_with_the_command_that_installs_them(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cross, "find_spec", lambda _: None)
    for name in MOST_IMAGES:
        reason = table.load(name).unavailable()
        assert reason is not None
        assert "pip install 'stars-snn[c]'" in reason or "apt-get install" in reason
