"""`stars parity`, `export`, `energy`: on a file and on a run; exit codes, JSON."""

import dataclasses
import json
import shutil
from pathlib import Path

import nir
import numpy as np
import onnx
import pytest

from cli.main import main
from export import to_lava
from export.from_nir import read
from export.to_nir import to_nir, write
from export.to_onnx import to_onnx
from stars.config.models import DistillConfig
from stars.files.writing import sha256
from stars.graph.nodes import LIF
from stars.graph.spiking_graph import SpikingGraph
from stars.run_directory import Run
from stars.testing.random_graphs import random_graph, random_images, random_inputs
from targets import api, table
from targets.c.cross import MOST_IMAGES

COUNT = 5
FAST = ["--target", "reference", "--target", "norse", "--target", "loihi"]


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return random_graph(np.random.default_rng(0), kind="residual")


@pytest.fixture
def file(graph, tmp_path) -> Path:
    write(graph, tmp_path / "net.nir")
    return tmp_path / "net.nir"


@pytest.fixture
def images(graph, tmp_path) -> Path:
    path = tmp_path / "images.npy"
    shape = graph.shapes[graph.input]
    np.save(path, random_images(np.random.default_rng(1), COUNT, shape))
    return path


@pytest.fixture
def broken(graph, tmp_path) -> Path:
    """The same network with one weight off by one grid step."""
    node = graph.nodes["block0_conv0"]
    steps = np.abs(node.weight[node.weight != 0])
    weight = node.weight.copy()
    weight[0, 0, 1, 1] += 2.0 ** int(np.floor(np.log2(steps.min())))
    node = dataclasses.replace(node, weight=weight)
    write(graph.replace_nodes({"block0_conv0": node}), tmp_path / "broken.nir")
    return tmp_path / "broken.nir"


@pytest.fixture
def run(graph, images, tmp_path) -> Run:
    """A run directory with its NIR file and its own test images, without a student."""
    data = tmp_path / "test.npz"
    np.savez(data, images=np.load(images), labels=np.zeros(COUNT, np.int64))
    made = Run.create(tmp_path / "run", DistillConfig(test_data=str(data)))
    write(graph, made.graph_path)
    return made


def said(capsys, *arguments: object) -> tuple[int, dict]:
    """Exit code and the one JSON object on stdout; {} when there is none."""
    code = main(["--quiet", *map(str, arguments), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else {}


def test_a_file_and_images_are_enough(capsys, graph, file, images):
    code, found = said(capsys, "parity", file, "--inputs", images, *FAST)
    assert code == 0
    assert found["schema"] == "stars.parity/2"
    assert found["ok"] is True
    assert [t["name"] for t in found["targets"]] == ["reference", "norse", "loihi"]
    for target in found["targets"]:
        assert target["images"] == COUNT
        assert target["neuron_steps"] == COUNT * 4 * graph.neuron_count()
        assert target["spike_mismatches"] == target["membrane_mismatches"] == 0
        assert target["membrane_steps"] == target["neuron_steps"]
        assert target["seconds"] >= 0
    assert set(found["rates"]) == set(graph.spiking)
    assert found["certificate"]["ok"] is True
    assert found["certificate"]["populations"][0]["accumulator_bits"] <= 17


@pytest.mark.parametrize(
    "name",
    [
        "reference",
        "norse",
        "loihi",
        pytest.param("lava-float", marks=pytest.mark.lava),
        pytest.param("lava-fixed", marks=pytest.mark.lava),
    ],
)
def test_a_broken_network_exits_with_3_and_names_the_place(
    capsys, request, file, images, broken, name
):
    if name.startswith("lava"):
        request.getfixturevalue("lava_python")
    arguments = ["parity", file, "--inputs", images, *FAST, "--target", name]
    code, found = said(capsys, *arguments, "--substitute", f"{name}={broken}")
    assert code == 3
    assert found["ok"] is False
    failed = [t for t in found["targets"] if not t["ok"]]
    assert [t["name"] for t in failed] == [name]
    first = failed[0]["first_divergence"]
    assert first["node"] == "block0_lif0"
    assert 0 <= first["step"] < 4
    assert len(first["neuron"]) == 3


def test_the_text_has_the_table_the_rates_the_certificate_and_the_place(
    capsys, file, images, broken
):
    arguments = ["parity", file, "--inputs", images, *FAST, "--verbose"]
    assert main([*map(str, arguments), "--substitute", f"norse={broken}"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "mismatches with reference",
        "state-forced first differs",
        "norse (substituted)",
        "firing rate",
        "certificate for T = 4: spikes and membranes exact",
        "accumulator",
        "target 'norse' first diverges at layer 'block0_lif0', step",
        "parity: FAILED for norse",
    ):
        assert words in out


def test_a_run_is_compared_by_the_onnx_file_that_ships(capsys, run, broken):
    """The run's own file is used even if it holds another network."""
    for source, code, ok in ((run.path, 0, True), (broken, 3, False)):
        arguments = ["--target", "onnx", "--out", run.onnx_path, "--force"]
        assert said(capsys, "export", source, *arguments)[0] == 0
        found = said(capsys, "parity", run.path, "--target", "onnx")
        assert found[0] == code
        (target,) = found[1]["targets"]
        assert (target["file"], target["ok"]) == (str(run.onnx_path), ok)
    assert target["first_divergence"]["node"] == "block0_lif0"
    assert target["state_forced"]["first_divergence"]["node"] == "block0_lif0"


def test_an_onnx_file_stands_beside_its_nir_file(capsys, file, images, tmp_path):
    path = tmp_path / "net.onnx"
    arguments = ["--target", "onnx", "--form", "unroll", "--out", path]
    assert said(capsys, "export", file, *arguments)[0] == 0
    arguments = ["--inputs", images, "--onnx", path, "--against", "norse"]
    code, found = said(capsys, "parity", file, *arguments, "--target", "onnx")
    assert code == 0
    assert found["against"] == "norse"
    assert found["targets"][0]["file"] == str(path)
    assert found["targets"][0]["tolerance"]["reason"]
    assert main(["parity", str(path), "--inputs", str(images)]) == 2
    assert "give its NIR file and '--onnx" in capsys.readouterr().err
    used = [*map(str, arguments), "--target", "loihi"]
    assert main(["parity", str(file), *used]) == 2
    assert "target 'onnx' is not among" in capsys.readouterr().err


def test_a_run_brings_its_own_images_and_keeps_the_report(capsys, run):
    code, found = said(capsys, "parity", run.path, *FAST, "--images", 3)
    assert code == 0
    assert found["images"] == 3
    assert json.loads((run.path / "parity.json").read_text()) == found


def test_a_dump_holds_the_traces(capsys, file, images, tmp_path):
    arguments = ["--inputs", images, *FAST, "--dump", tmp_path / "dump"]
    assert said(capsys, "parity", file, *arguments)[0] == 0
    folders = sorted(p.name for p in (tmp_path / "dump").iterdir())
    assert folders == ["desired", "loihi", "norse"]


def test_a_float_input_is_taken_as_it_is(capsys, tmp_path):
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="mlp")
    write(graph, tmp_path / "net.nir")
    np.savez(tmp_path / "x.npz", inputs=random_inputs(rng, graph, 6))
    arguments = ["parity", tmp_path / "net.nir", "--inputs", tmp_path / "x.npz", *FAST]
    code, found = said(capsys, *arguments)
    assert code == 0
    assert found["images"] == 6


@pytest.mark.lava
@pytest.mark.usefixtures("lava_python")
def test_a_network_of_somebody_elses_runs_where_it_can(capsys, tmp_path):
    rng = np.random.default_rng(0)
    network = random_graph(rng, kind="recurrent")
    theirs = to_nir(network)
    theirs.metadata = {}
    for node in theirs.nodes.values():
        node.metadata = {}
    nir.write(tmp_path / "net.nir", theirs)
    np.save(tmp_path / "x.npy", random_inputs(rng, network, 2))
    given = [tmp_path / "net.nir", "--inputs", tmp_path / "x.npy"]
    given += ["--dt", network.dt, "--steps", network.steps]
    code, data = said(capsys, "parity", *given)
    assert code == 0
    assert [t["name"] for t in data["targets"]] == ["reference", "norse", "onnx"]
    assert all(t["membrane_mismatches"] == 0 for t in data["targets"])
    compiled = {"c", "c-wasm", "c-arm", "c-arm-m55"}
    assert set(data["skipped"]) == compiled | {"loihi", "lava-float", "lava-fixed"}
    assert "'wait': 'Delay'" in data["skipped"]["loihi"]
    assert "no integer form" in data["certificate"]["verdict"]
    code, data = said(capsys, "parity", *given, "--target", "loihi")
    assert code == 4


def test_all_targets_run_by_default_and_lava_on_fewer_images(capsys, file, images):
    code, found = said(capsys, "parity", file, "--inputs", images, "--lava-images", 2)
    assert code == 0
    counts = {t["name"]: t["images"] for t in found["targets"]}
    assert counts["reference"] == counts["norse"] == counts["loihi"] == COUNT
    assert counts["lava-float"] == counts["lava-fixed"] == 2
    assert found["skipped"].keys() <= MOST_IMAGES.keys()  # without their tools


def test_lava_runs_fewer_images_of_a_large_network(capsys, file, images, monkeypatch):
    monkeypatch.setattr(api, "LAVA_NEURON_STEPS", 1)
    asked = ["parity", file, "--inputs", images, "--target", "lava-fixed"]
    code, found = said(capsys, *asked)
    assert (code, found["targets"][0]["images"]) == (0, 1)


def test_without_lava_it_is_skipped_by_default_and_missed_when_named(
    capsys, file, images, monkeypatch, tmp_path
):
    monkeypatch.setenv("STARS_LAVA_ENV", str(tmp_path / "none"))
    code, found = said(capsys, "parity", file, "--inputs", images)
    assert code == 0
    cross = {name for name in MOST_IMAGES if table.load(name).unavailable()}
    assert set(found["skipped"]) == {"lava-float", "lava-fixed"} | cross
    assert "stars lava setup" in found["skipped"]["lava-float"]
    arguments = ["--inputs", images, "--target", "lava-fixed"]
    assert said(capsys, "parity", file, *arguments) == (5, {})


BAD_USE = {
    "no such file": (["parity", "gone.nir"], "no such file"),
    "no images": (["parity", "FILE"], "pass --inputs"),
    "no such inputs": (["parity", "FILE", "--inputs", "gone.npy"], "no such file"),
    "inputs of no kind": (["parity", "FILE", "--inputs", "FILE"], "not a readable"),
    "no image at all": (
        ["parity", "FILE", "--inputs", "IMAGES", "--images", "0"],
        "1 to",
    ),
    "too many": (["parity", "FILE", "--inputs", "IMAGES", "--images", "9"], "1 to 5"),
    "no such target": (
        ["parity", "FILE", "--inputs", "IMAGES", "--target", "tpu"],
        "unknown target tpu",
    ),
    "only the reference": (
        ["parity", "FILE", "--inputs", "IMAGES", "--target", "reference"],
        "nothing to compare",
    ),
    "half a substitute": (
        ["parity", "FILE", "--inputs", "IMAGES", "--substitute", "norse"],
        "expected NAME=FILE",
    ),
    "a folder that is no run": (["energy", "."], "is not a run directory"),
    "no such table": (
        ["energy", "FILE", "--inputs", "IMAGES", "--table", "abacus"],
        "unknown cost table",
    ),
    "no such format": (["export", "FILE", "--target", "gguf"], "unknown format"),
    "nowhere to write to": (["export", "FILE"], "pass --out"),
    "no such form": (
        ["export", "FILE", "--target", "onnx", "--form", "loop", "--out", "x.onnx"],
        "there are scan, step, unroll",
    ),
    "a form of a format without forms": (
        ["export", "FILE", "--form", "scan", "--out", "copy.nir"],
        "format 'nir' has no form; it has convention, dt",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_USE.values(), ids=BAD_USE)
def test_bad_use_exits_with_2_and_writes_nothing(
    capsys, file, images, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    places = {"FILE": str(file), "IMAGES": str(images)}
    assert main([places.get(a, a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_whose_distillation_has_not_ended_says_so(capsys, tmp_path):
    made = Run.create(tmp_path / "run", DistillConfig())
    assert main(["parity", str(made.path)]) == 2
    assert "has not ended" in capsys.readouterr().err


def test_a_run_whose_network_was_deleted_is_not_told_that_it_has_not_ended(
    capsys, proved, tmp_path
):
    run = shutil.copytree(proved, tmp_path / "run")
    (run / "artifacts" / "student.nir").unlink()
    for command in ("parity", "energy", "check", "report"):
        code = main([command, str(run)])
        said = "".join(capsys.readouterr())
        assert code == (0 if command == "report" else 2)
        assert "its artifacts/student.nir was deleted after the distillation" in said
        assert "has not ended" not in said


def test_rounding_of_a_float_network_is_said_to_be_that(capsys, tmp_path):
    rng = np.random.default_rng(3)
    graph = random_graph(rng, kind="mlp", on_grid=False)
    write(graph, tmp_path / "net.nir")
    np.savez(tmp_path / "x.npz", inputs=random_inputs(rng, graph, 3))
    arguments = ["parity", tmp_path / "net.nir", "--inputs", tmp_path / "x.npz"]
    assert main([*map(str, arguments), "--target", "norse"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "parity: FAILED for norse: nothing but rounding, no spike differs" in out
    assert "units in the last place of float32" in out
    reason = "no integer form" if "no integer form" in out else "not exact because"
    assert out.count("broken:") == 0
    assert out.count(reason) == 1


# -- export


def test_an_export_is_the_same_graph(capsys, graph, file, tmp_path):
    out = tmp_path / "copy" / "net.nir"
    code, found = said(capsys, "export", file, "--out", out)
    assert code == 0
    assert found["read_back"] is True
    assert read(out) == graph


def test_an_export_for_another_reader_has_its_dt_and_its_convention(
    capsys, graph, file, run, tmp_path
):
    out = tmp_path / "other.nir"
    for source in (file, run.path):
        assert (
            said(capsys, "export", source, "--dt", "1e-4", "--out", out, "--force")[0]
            == 0
        )
        found = read(out)
        assert found.dt == 1e-4
        for name in found.spiking:
            ratio = graph.dt / graph.nodes[name].tau
            np.testing.assert_array_equal(1e-4 / found.nodes[name].tau, ratio)
    write(random_graph(np.random.default_rng(0), kind="mlp"), tmp_path / "mlp.nir")
    asked = ["--convention", "tau/r", "--dt", "1e-4", "--out", out, "--force"]
    assert said(capsys, "export", tmp_path / "mlp.nir", *asked)[0] == 0
    for name in ("lif0", "lif1"):
        node = read(out).nodes[name]
        np.testing.assert_allclose(node.tau / node.r, 1e-4)
    before = run.graph_path.read_bytes()
    assert main(["export", str(run.path), "--dt", "1e-4"]) == 2
    assert "pass --out PATH" in capsys.readouterr().err
    assert run.graph_path.read_bytes() == before
    assert main(["export", str(file), "--dt", "often", "--out", str(out)]) == 2


def test_an_export_takes_an_opset(capsys, file, tmp_path):
    out = tmp_path / "net.onnx"
    asked = ["--target", "onnx", "--opset", "21", "--out", out, "--force"]
    assert said(capsys, "export", file, *asked)[0] == 0
    assert onnx.load(out).opset_import[0].version == 21
    asked[3] = "17"
    assert main(["export", str(file), *map(str, asked)]) == 2
    assert "opset is 17; allowed are 18 to 23" in capsys.readouterr().err


def test_an_export_of_a_run_goes_to_its_artifacts(capsys, graph, run):
    code, found = said(capsys, "export", run.path, "--target", "nir")
    assert code == 0
    assert found["path"] == str(run.graph_path)
    assert read(run.graph_path) == graph
    sums = json.loads(run.manifest_path.read_text())["sha256"]
    assert "artifacts/student.nir" in sums


def test_an_onnx_file_of_a_run_goes_to_its_artifacts(capsys, graph, run):
    code, found = said(capsys, "export", run.path, "--target", "onnx")
    assert code == 0
    path = run.path / "artifacts" / "student.onnx"
    assert found["path"] == str(path)
    assert path.read_bytes() == to_onnx(graph).SerializeToString()
    sums = json.loads(run.manifest_path.read_text())["sha256"]
    assert sums["artifacts/student.onnx"] == sha256(path)


@pytest.mark.parametrize(("on_grid", "weights"), [(True, "int8"), (False, "float32")])
def test_an_onnx_export_says_how_its_weights_are_stored(
    capsys, tmp_path, on_grid, weights
):
    graph = random_graph(np.random.default_rng(0), kind="vgg", on_grid=on_grid)
    write(graph, tmp_path / "net.nir")
    out = tmp_path / "net.onnx"
    arguments = ["--target", "onnx", "--out", str(out)]
    assert main(["export", str(tmp_path / "net.nir"), *arguments]) == 0
    assert f"loop inside, {weights} weights" in capsys.readouterr().out
    body = onnx.load(out).graph.node[0].attribute
    inside = next(a.g for a in body if a.name == "body")
    kinds = {n.op_type for n in inside.node}
    assert ("DequantizeLinear" in kinds) is on_grid


def test_the_form_of_an_onnx_file_and_its_layers_are_asked_for(capsys, run, tmp_path):
    out = tmp_path / "step.onnx"
    asked = ["--target", "onnx", "--form", "step", "--record", "--out", out]
    code, _ = said(capsys, "export", run.path, *asked)
    assert code == 0
    model = onnx.load(out)
    assert model.graph.name == "step"
    assert "spikes/lif0" in {output.name for output in model.graph.output}


def test_a_lava_bundle_goes_to_a_folder(capsys, run):
    code, found = said(capsys, "export", run.path, "--target", "lava")
    assert code == 0
    folder = run.path / "artifacts" / "lava"
    assert found["path"] == str(folder)
    assert read(folder / "student.nir") == read(run.graph_path)
    assert (folder / "plan.npz").is_file()
    sums = json.loads(run.manifest_path.read_text())["sha256"]
    assert sums["artifacts/lava/manifest.json"] == sha256(folder / "manifest.json")


# -- energy


def test_energy_of_a_run_is_printed_and_kept(capsys, graph, run):
    tables = ["--table", "loihi1", "--table", "horowitz45"]
    code, found = said(capsys, "energy", run.path, *tables)
    assert code == 0
    assert found["schema"] == "stars.energy/2"
    assert json.loads((run.path / "energy.json").read_text()) == found
    assert found["counts"]["images"] == COUNT
    assert [p["name"] for p in found["counts"]["populations"]] == list(graph.neurons)
    loihi, arithmetic = found["estimates"]
    assert loihi["table"]["name"] == "loihi1"
    assert loihi["joules"] == pytest.approx(sum(n["total"] for n in loihi["layers"]))
    assert loihi["ann_joules_per_image"] is None
    assert arithmetic["ann_joules_per_image"] > 0
    assert "Horowitz" in arithmetic["table"]["mac"]["source"]


def test_a_changed_lava_bundle_exits_with_2_and_names_the_value(
    capsys, run, graph, file, images
):
    to_lava.write(graph, run.bundle_path)
    assert main(["parity", str(run.path), *FAST]) == 0
    manifest = run.bundle_path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"steps": 4', '"steps": 5'))
    arguments = ["parity", file, "--inputs", images, *FAST, "--bundle", run.bundle_path]
    for command in (["parity", run.path, *FAST], arguments):
        assert main([str(word) for word in command]) == 2
        assert (
            "manifest.json: steps is 5, expected 4; export" in capsys.readouterr().err
        )


def test_energy_as_text_has_all_tables_the_ann_and_who_wins(capsys, run):
    run.record_artifact(run.graph_path)
    run.add_to_manifest({"grid_accuracy": 0.226})
    explained = ["--layers", "--explain", "horowitz45"]
    assert main(["energy", str(run.path), *explained]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "loihi2 (bound)",
        "horowitz45-int8",
        "ANN MAC",
        "weight bytes",
        "image, if constant",
        "sum, pooled-dense",
        "zero-skipping",
        "qnn, 3 bits",
        "the SNN (accuracy 22.60 %) wins",
        "The SNN needs less energy than the bit-matched QNN under",
        "1.34x better",
        "below 54.1 %",
    ):
        assert words in out


def test_energy_takes_a_cost_table_of_ones_own(capsys, file, images, tmp_path):
    costs = "".join(
        f'[costs.{name}]\npicojoules = 1000\nsource = "measured"\n'
        for name in ("ac", "mac", "update_active", "update_inactive", "spike")
    )
    texts = "".join(f'{n} = "ours"\n' for n in ("name", "title", "process", "about"))
    path = tmp_path / "ours.toml"
    path.write_text(texts + costs)
    arguments = ["energy", file, "--inputs", images, "--table", path]
    code, found = said(capsys, *arguments)
    assert code == 0
    assert found["estimates"][-1]["table"]["name"] == "ours"
    path.write_text(texts + costs.replace("1000", "-1", 1))
    assert main(["energy", str(file), "--inputs", str(images), "--table", str(path)])
    assert "'ac' is -1 pJ; give a number from 0 up" in capsys.readouterr().err


def test_energy_of_a_silent_network_is_warned_of_and_no_failure(
    capsys, graph, images, tmp_path
):
    silent = {
        name: LIF.uniform(graph.shapes[name], tau=2 * graph.dt, v_threshold=2.0**12)
        for name in graph.spiking
    }
    write(graph.replace_nodes(silent), tmp_path / "net.nir")
    for command in ("energy", "parity"):
        arguments = [command, tmp_path / "net.nir", "--inputs", images]
        extra = FAST[:4] if command == "parity" else []
        code, found = said(capsys, *arguments, *extra)
        assert code == 0
        assert found["warnings"][0].startswith("SILENT")
        assert main([*map(str, arguments), *extra]) == 0
        assert "warning: SILENT" in capsys.readouterr().out
