"""C sources: every compiler warning is an error, and the self-test can fail."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import export
from export.c.folder import is_identifier, write
from stars.errors import ConfigError, DataError, UnsupportedNodeError
from stars.files.writing import sha256
from stars.graph.encoding import LatencyEncoding, PoissonEncoding
from stars.graph.spiking_graph import SpikingGraph
from stars.testing.random_graphs import random_graph

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
CHECKED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
GCC = shutil.which("gcc") or "gcc"


def drawn(kind: str, seed: int = 3, **options) -> SpikingGraph:
    return random_graph(np.random.default_rng(seed), kind=kind, **options)


def build(folder: Path, *flags: str, compiler=(GCC,), more=("self_test.c",)) -> Path:
    """The compiled self-test of a folder."""
    name = json.loads((folder / "manifest.json").read_text())["name"]
    files = [f"{name}.c", *more]
    files += ["encode.c"] if (folder / "encode.c").exists() else []
    command = [*compiler, *STRICT, *flags, "-DSTARS_RECORD", *files, "-o", "self_test"]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "self_test"


def outcome(program: Path) -> tuple[int, str]:
    done = subprocess.run([program], check=False, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("kernels", ["auto", "dense"])
@pytest.mark.parametrize("kind", ["mlp", "conv1d", "shortcut", "cuba", "integrate"])
def test_the_self_test_passes_with_sanitizers_and_without_a_warning(
    kind, kernels, tmp_path
):
    write(drawn(kind), tmp_path / "net", kernels=kernels)
    assert outcome(build(tmp_path / "net", *CHECKED)) == (0, "PASS\n")


@pytest.mark.parametrize(
    "encoding",
    [PoissonEncoding(0.7, seed=2**63 + 5), LatencyEncoding(), LatencyEncoding(200)],
)
@pytest.mark.parametrize("steps", [1, 5])
def test_images_are_encoded_as_in_python(encoding, steps, tmp_path):
    graph = replace(drawn("flat"), encoding=encoding, steps=steps)
    write(graph, tmp_path / "net")
    assert outcome(build(tmp_path / "net", *CHECKED)) == (0, "PASS\n")


@pytest.mark.parametrize("seed", range(4))
def test_a_weight_off_by_one_fails_the_self_test_and_is_named(seed, tmp_path):
    graph = drawn("residual", seed)
    write(graph, tmp_path / "net")
    rng, source = np.random.default_rng(seed), tmp_path / "net" / "network.c"
    text = source.read_text()
    arrays = list(re.finditer(r"link_(\d)_0_weights\[\d+\] = \{(.*?)\}", text, re.S))
    found = arrays[rng.integers(len(arrays))]
    numbers = [int(n) for n in found[2].split(",")]
    largest = int(np.abs(numbers).argmax())
    numbers[largest] -= int(np.sign(numbers[largest]))
    changed = text[: found.start(2)] + ", ".join(map(str, numbers))
    source.write_text(changed + text[found.end(2) :])
    code, said = outcome(build(tmp_path / "net"))
    assert code == 1
    layer = graph.neurons[int(found[1])]
    assert re.fullmatch(rf"FAIL: input \d, step \d, layer {layer}\n", said)


HOSTILE = ["*/ int x; /*", '"); system("ls', "??/", "a\nb", "..\\", "%s%n", "é`|"]


def test_node_names_cannot_leave_comments_strings_and_tables(tmp_path):
    graph = drawn("mlp")
    names = dict(zip(graph.nodes, HOSTILE, strict=False))
    nodes = {names.get(n, n): node for n, node in graph.nodes.items()}
    edges = tuple((names.get(a, a), names.get(b, b)) for a, b in graph.edges)
    write(replace(graph, nodes=nodes, edges=edges), tmp_path / "net")
    assert outcome(build(tmp_path / "net")) == (0, "PASS\n")
    for file in ("network.c", "network.h", "golden.h", "README.md"):
        text = (tmp_path / "net" / file).read_text()
        assert text.isascii()
        assert not any(name in text for name in HOSTILE)


@pytest.mark.parametrize("name", ["int", "string", "a" * 48, "X9_"])
def test_any_identifier_is_a_name(name, tmp_path):
    write(drawn("mlp"), tmp_path / "net", name=name)
    assert outcome(build(tmp_path / "net", "-iquote", ".")) == (0, "PASS\n")


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a b", "9a", "_a", "a" * 49, "é", "a\n", "Golden", None]
)
def test_other_names_are_none(name):
    assert not is_identifier(name)


def test_everything_wrong_is_said_at_once_and_nothing_is_written(tmp_path):
    graph = drawn("mlp")
    wrong = {"name": "../up", "kernels": "fast", "rates": {"lif9": 0.1, "lif0": 2}}
    with pytest.raises(ConfigError) as caught:
        export.write(graph, tmp_path / "net", target="c", **wrong)
    for part in (
        "'../up'",
        "auto, event, dense",
        "['lif9']",
        "{'lif0': 2}",
    ):
        assert part in str(caught.value)
    with pytest.raises(UnsupportedNodeError, match="no integer form"):
        export.write(drawn("recurrent"), tmp_path / "net", target="c")
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_without_c_is_refused(tmp_path):
    class Other(LatencyEncoding):
        pass

    graph = replace(drawn("flat"), encoding=Other())
    with pytest.raises(UnsupportedNodeError, match="no C for encoding 'Other'"):
        write(graph, tmp_path / "net")


def test_a_folder_is_replaced_only_if_it_holds_c(tmp_path):
    graph = drawn("mlp")
    write(graph, tmp_path / "net")
    write(graph, tmp_path / "net", name="second")
    assert not (tmp_path / "net" / "network.c").exists()
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    files = {p.name for p in (tmp_path / "net").iterdir()} - {"manifest.json"}
    assert manifest["files"] == {n: sha256(tmp_path / "net" / n) for n in files}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="is not a folder of C sources"):
        write(graph, tmp_path / "mine")


def test_rates_choose_the_kernels(tmp_path):
    graph = drawn("residual")
    rates = {name: 0.9 if name == "block0_lif0" else 0.1 for name in graph.neurons}
    by_rate = write(graph, tmp_path / "net", rates=rates)["kernels"]
    assert by_rate["block1_lif1"] == ["event", "event"]
    wide = drawn("flat", 5)
    loud = write(wide, tmp_path / "loud", rates={"input": 1.0})["kernels"]
    quiet = write(wide, tmp_path / "loud", rates={"input": 0.1})["kernels"]
    assert (loud["lif0"], quiet["lif0"]) == (["dense"], ["event"])


SIZES = """
#include "network.h"
#include <stdio.h>
void network_record(int32_t a, int32_t b, int8_t *c, const int32_t *d);
void network_record(int32_t a, int32_t b, int8_t *c, const int32_t *d)
{
    (void)a, (void)b, (void)c, (void)d;
}
int main(void) { printf("%d", (int)sizeof(struct network_state)); return 0; }
"""


@pytest.mark.parametrize("kind", ["mlp", "residual", "cuba", "conv1d"])
def test_ram_is_the_size_of_the_state_and_the_stack_is_small(kind, tmp_path):
    folder = tmp_path / "net"
    manifest = write(drawn(kind), folder)
    (folder / "sizes.c").write_text(SIZES)
    program = build(folder, "-O2", "-fstack-usage", more=("sizes.c",))
    assert outcome(program) == (0, str(manifest["ram_bytes"]))
    (report,) = folder.glob("*network.su")
    rows = (line.split("\t") for line in report.read_text().splitlines())
    usage = {row[0].split(":")[-1]: int(row[1]) for row in rows}
    chain = usage.pop("network_run") + usage.pop("network_step")
    calls = sorted(usage.values())[-2:]  # a kernel, and what it calls
    assert 0 < chain + sum(calls) < manifest["stack_bytes"]
