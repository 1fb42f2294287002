"""A run as page, JSON and model card: their content and their validity."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pydantic
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from cli.main import main
from export.to_nir import write
from stars.config.models import DistillConfig
from stars.files.writing import write_json
from stars.graph import reference
from stars.graph.nodes import Affine, Conv2d
from stars.graph.spiking_graph import SpikingGraph
from stars.run_directory import Run
from stars.testing.random_graphs import random_graph, random_images
from targets.parity_check.comparison import Divergence
from targets.parity_check.report import ParityReport
from targets.report.collect import collect, picture
from targets.report.energy_plots import others_name
from targets.report.model import (
    Accuracies,
    Gauge,
    Provenance,
    Report,
    StepMap,
    json_schema,
)
from targets.report.model_card import model_card
from targets.report.page import comparison_html, report_html
from targets.report.plots import (
    accuracy_plot,
    agreement_plot,
    gauge_plots,
    network_plot,
    step_plot,
)
from targets.report.read import read_energy, read_parity
from targets.report.sentences import flat, lost, mean_rate, replaced, verdict
from targets.report.side_by_side import side_by_side
from targets.report.svg import WIDTH, compact, decades, shortened

COUNT = 5
HOSTILE = "<img src=x onerror=alert(1)>&\"'|`*"
LIMIT = 5_000_000
VOID = {"meta", "link", "img", "br", "hr", "input"}
FILES = ("report.html", "report.json", "MODEL_CARD.md")


class Page(HTMLParser):
    """A page as a list of elements; refuses tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, str]] = []
        self.elements: list[dict[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        inside = [one["tag"] for one in self.open]
        element = {"tag": tag, "inside": inside, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "inside": [], "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for one in self.open:
            one["text"] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            one
            for one in self.elements
            if one["tag"] == tag
            and all(one.get(key) == value for key, value in attributes.items())
        ]


@pytest.fixture(scope="module")
def graph() -> SpikingGraph:
    return random_graph(np.random.default_rng(0), kind="residual")


def make_run(folder: Path, graph: SpikingGraph, **settings) -> Run:
    """A finished run of `graph` with test images, metrics and a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = graph.shapes[graph.input]
    images = random_images(np.random.default_rng(1), COUNT, shape)
    data = folder / "test.npz"
    np.savez(data, images=images, labels=np.zeros(COUNT, np.int64))
    run = Run.create(folder / "run", DistillConfig(test_data=str(data), **settings))
    write(graph, run.graph_path)
    run.add_to_manifest(
        {"teacher_accuracy": 0.9, "student_accuracy": 0.75, "grid_accuracy": 0.5}
    )
    run.record_artifact(run.graph_path)
    for number in (1, 2, 3):
        run.log({"round": number, "seconds": number, "kl": 1 / number, "nld": np.nan})
    Image.fromarray(np.full((16, 32), 90, np.uint8)).save(run.synthetic_path)
    return run


def called(*arguments: object) -> int:
    return main(["--quiet", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(graph, tmp_path_factory) -> Path:
    """A run after `stars parity` and `stars energy`."""
    path = make_run(tmp_path_factory.mktemp("made"), graph).path
    assert called("parity", path, "--target", "reference", "--target", "loihi") == 0
    assert called("energy", path) == 0
    return path


@pytest.fixture
def run(measured, tmp_path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(measured, tmp_path / "run")


@pytest.fixture(scope="module")
def report(measured) -> Report:
    return collect(measured)


@pytest.fixture(scope="module")
def page(report, measured) -> str:
    return report_html(report, picture(measured))


def broken_parity(run: Path) -> Report:
    """The report of a run in which one target fails at one invented place."""
    content = json.loads((run / "parity.json").read_text()) | {"ok": False}
    target = content["targets"][1]
    first = {
        "node": "block0_lif0",
        "step": 2,
        "sample": 4,
        "neuron": [1, 0, 3],
        "kind": "spike",
        "actual": 1.0,
        "desired": 0.0,
        "margin": 0.25,
    }
    target |= {"ok": False, "spike_mismatches": 3, "first_divergence": first}
    row = next(r for r in target["layers"] if r["node"] == "block0_lif0")
    row |= {"spike_mismatches": 3, "mismatches_by_step": [0, 0, 2, 1]}
    write_json(run / "parity.json", content)
    return collect(run)


def check_page(text: str) -> Page:
    """Check the requirements of every page."""
    page = Page(text)
    assert len(text.encode()) < LIMIT
    ids = [one["id"] for one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    for one in page.elements:
        for key in ("aria-labelledby", "aria-describedby", "for"):
            assert set(one.get(key, "").split()) <= set(ids)
        if one.get("href", "").startswith("#"):
            assert one["href"][1:] in ids
    check_no_network(page, text)
    for drawing in page.all("svg", role="img"):
        named = [page.all("title", id=f"{drawing['id']}-title")[0]]
        named.append(page.all("desc", id=f"{drawing['id']}-desc")[0])
        assert all(one["text"].strip() for one in named)
        assert re.fullmatch(r"0 0 320 \d+(\.\d+)?", drawing["viewbox"])
    figures = page.all("figure")
    tables = [t for t in page.all("table") if "details" in t["inside"]]
    drawn = [s for s in page.all("svg", role="img") if "figure" in s["inside"]]
    in_figures = [t for t in tables if "figure" in t["inside"]]
    assert len(drawn) == len(in_figures) == len(figures) - len(page.all("img"))
    assert len(page.all("h1")) == 1
    levels = [int(o["tag"][1]) for o in page.elements if o["tag"] in {"h2", "h3"}]
    assert levels[0] == 2
    assert all(one.get("alt") for one in page.all("img"))
    for one in page.all("select"):
        assert page.all("label", **{"for": one["id"]})
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("main")
    return page


def check_no_network(page: Page, text: str) -> None:
    """Check that the page loads nothing and forbids the browser to load anything."""
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy[0]["content"].startswith("default-src 'none'")
    for one in page.elements:
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert one.get(key, "#").startswith(("#", "data:"))
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_the_page_is_sound_and_every_drawing_has_a_name_and_a_table(page, graph):
    found = check_page(page)
    names = {one["id"] for one in found.all("svg", role="img")}
    assert {
        "plot-accuracy",
        "plot-rates",
        "plot-targets",
        "plot-steps",
        "plot-gauge-2",
        "plot-energy",
        "plot-shares",
        "plot-layers-0",
        "plot-membrane-0",
        "plot-training-1",
        f"plot-raster-{len(graph.spiking) - 1}",
    } <= names
    assert found.all("img")[0]["src"].startswith("data:image/png;base64,")


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb. Source: WCAG 2.2, "relative luminance"."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, scheme):
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 to 1."""
    blocks = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[scheme]))
    pairs = [(ink, on) for ink in ("ink", "muted", "blue") for on in ("paper", "card")]
    pairs += [(name, f"{name}-soft") for name in ("good", "bad", "unsure")]
    pairs += [(name, "card") for name in ("good", "bad")]
    pairs += [("muted", "zero"), ("ink", "bad-soft"), ("muted", "card")]
    for pair in pairs:
        dark, light = sorted(luminance(colors[name]) for name in pair)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


def test_the_verdict_counts_what_was_compared(report, page, graph):
    steps = f"{COUNT * 4 * graph.neuron_count():,}"
    found = verdict(report)
    assert found.state == "exact"
    assert found.sentence == f"Exact on 1 target: 0 of {steps} neuron-steps differ"
    assert found.sentence in page
    assert "50.00 %" in page
    assert "Certificate for T = 4: spikes and membranes exact." in page


def test_a_difference_is_the_headline_with_its_place(run):
    report = broken_parity(run)
    found = verdict(report)
    assert found.state == "failed"
    assert found.sentence == (
        "Not exact: first divergence at layer 'block0_lif0', step 2, neuron (1, 0, 3),"
        " image 4: spike 1, expected 0, 0.25 below the threshold, on loihi"
    )
    assert "3 spikes and membranes differ on loihi." in found.detail
    names = [layer.name for layer in report.network.layers]
    assert report.step_map.counts[names.index("block0_lif0")] == (0, 0, 2, 1)
    page = check_page(report_html(report, None))
    tips = [t["text"] for t in page.all("title") if "step 2: 2 differ" in t["text"]]
    assert tips == ["block0_lif0, step 2: 2 differ"]


def test_a_substitute_that_failed_is_said_to_be_on_purpose(graph, run, tmp_path):
    first = next(n for n in graph.nodes if isinstance(graph.nodes[n], Conv2d))
    node = graph.nodes[first]
    other = graph.replace_nodes(
        {
            first: type(node)(
                -node.weight, node.bias, stride=node.stride, padding=node.padding
            )
        }
    )
    write(other, tmp_path / "other.nir")
    (run / "parity.json").unlink()
    arguments = ("--target", "loihi", "--substitute", f"loihi={tmp_path / 'other.nir'}")
    assert called("parity", run, *arguments) == 3
    found = verdict(collect(run))
    assert found.state == "failed"
    assert "On purpose: loihi ran another network" in found.detail


def test_the_steps_of_all_targets_add_up(report):
    assert report.step_map.targets == ("loihi",)
    assert report.step_map.images == COUNT
    assert sum(map(sum, report.step_map.counts)) == 0


def test_without_recorded_steps_the_emulator_is_run(run):
    (run / "parity.json").unlink()
    found = collect(run)
    assert found.step_map.targets == ("loihi",)
    assert found.step_map.images == COUNT
    assert {len(row) for row in found.step_map.counts} == {4}


def test_the_rasters_and_membranes_are_those_of_the_reference(report, graph):
    shown = report.activity
    assert (shown.images, shown.steps) == (COUNT, 4)
    assert [one.layer for one in shown.rasters] == list(graph.spiking)
    assert {one.layer for one in shown.membranes} == set(graph.neurons)
    for one in shown.membranes:
        if one.threshold is None:
            continue
        assert one.threshold == 1
        for volts, spikes in zip(one.membrane, one.spikes, strict=True):
            assert all(v <= 1 for v in volts)
            assert all(volts[step] == 0 for step in spikes)


def test_a_silent_student_is_said_loudly(graph, tmp_path):
    weightless = {
        name: type(node)(
            **{
                **node.parameters(),
                "weight": np.zeros_like(node.weight),
                "bias": np.zeros_like(node.bias),
            }
        )
        for name, node in graph.nodes.items()
        if isinstance(node, Conv2d | Affine)
    }
    run = make_run(tmp_path, graph.replace_nodes(weightless))
    arguments = ("--target", "reference", "--target", "loihi")
    assert called("parity", run.path, *arguments) == 0
    report = collect(run.path)
    assert verdict(report).state == "unknown"
    assert verdict(report).sentence == "Silent: no neuron ever fires"
    assert report.warnings[0].startswith("Silent: ")
    assert all(name in report.warnings[0] for name in graph.spiking)
    assert "Silent: " in report_html(report, None)
    assert "Silent: " in model_card(report)


def test_an_accuracy_near_chance_is_said(run, report):
    classes = report.network.classes
    Run(run).add_to_manifest({"grid_accuracy": 1.1 / classes})
    assert any("close to chance" in text for text in collect(run).warnings)
    assert not any("close to chance" in text for text in report.warnings)


def test_a_changed_file_is_said(run):
    Run(run).add_to_manifest({"sha256": {"artifacts/student.nir": "0" * 64, "x": "1"}})
    found = collect(run)
    assert [one.state for one in found.provenance.artifacts] == ["changed", "gone"]
    assert any("student.nir is changed" in text for text in found.warnings)


def test_an_empty_run_says_what_to_do_and_is_no_failure(tmp_path, capsys):
    run = Run.create(tmp_path / "it's mine", DistillConfig())
    assert main(["report", str(run.path)]) == 0
    streams = capsys.readouterr()
    assert "Not compared yet" in streams.out
    assert "stars distill --out" in streams.err
    text = (run.path / "report.html").read_text()
    check_page(text)
    assert "--resume" in text
    report = json.loads((run.path / "report.json").read_text())
    jsonschema.validate(report, published())
    assert report["network"] is None


@pytest.mark.parametrize("name", ["parity", "energy"])
def test_what_was_not_measured_is_named_with_its_command(run, name):
    (run / f"{name}.json").unlink()
    assert called("report", run) == 0
    check_page((run / "report.html").read_text())
    assert f"stars {name} {run}" in (run / "report.html").read_text()
    assert f"stars {name} {run}" in (run / "MODEL_CARD.md").read_text()


def test_a_comparison_of_another_network_is_not_shown(run):
    other = random_graph(np.random.default_rng(3), kind="mlp")
    write(other, run / "artifacts" / "student.nir")
    Run(run).config_path.write_text('test_data = "none"\n')
    found = collect(run)
    assert found.parity is None
    reasons = {one.section: one.reason for one in found.missing}
    assert "another network" in reasons["parity"]
    assert "comes without test images" in reasons["activity"]
    check_page(report_html(found, None))


ESTIMATE_OF_TEXT = """{
    "schema": "stars.energy/1", "estimates": ["text"],
    "counts": {"images": 1, "connections": [], "populations": []}
}"""
COUNTS_TOO_LARGE = ESTIMATE_OF_TEXT.replace('["text"]', "[]").replace(
    '"populations": []',
    f""""steps": 1, "populations": [{{"name": "n", "neurons": 1, "updates": 1,
    "active": 1, "spikes": 1{"0" * 400}, "ann_macs": 1}}]""",
)
DAMAGED = {
    "parity.json": ["{", "[]", "\x00", '{"schema": "stars.parity/9"}'],
    "energy.json": [
        ESTIMATE_OF_TEXT,
        '{"schema": "stars.energy/1"}',
        COUNTS_TOO_LARGE,
        '{"schema": 1}',
        "7",
    ],
    "manifest.json": ["", "[" * 100_000, '{"sha256": 3}', '{"grid_accuracy": NaN}'],
    "metrics.jsonl": [
        '{"round": 1, "kl": 1' + "0" * 400 + "}",
        '{"round": 1}\nnot json\n',
        '{"no": "round"}',
        "3",
        "[" * 100_000,
    ],
    "synthetic.png": ["no picture"],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in DAMAGED.items() for content in contents],
)
def test_a_damaged_file_is_named_and_nothing_is_written(run, capsys, name, content):
    (run / name).write_text(content)
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert name in error
    assert not any((run / file).exists() for file in FILES)


def test_a_missing_field_is_named(run, capsys):
    content = json.loads((run / "parity.json").read_text())
    del content["targets"][0]["layers"][2]["neuron_steps"]
    write_json(run / "parity.json", content)
    assert main(["report", str(run)]) == 2
    assert "targets.0.layers.2.neuron_steps" in capsys.readouterr().err


def test_counts_that_contradict_their_layers_are_refused(run, capsys):
    content = json.loads((run / "parity.json").read_text())
    content["targets"][1]["layers"][0]["spike_mismatches"] = 1
    write_json(run / "parity.json", content)
    assert main(["report", str(run)]) == 2
    assert "its parts give" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["0.1"])
def test_reports_of_earlier_versions_are_read(version):
    folder = Path(__file__).parents[2] / "golden" / version
    parity = read_parity(folder / "parity.json")
    assert parity.ok
    assert {target.neuron_steps for target in parity.targets} == {9324}
    assert parity.rates["s1_act1"] == pytest.approx(0.287, abs=0.001)
    assert not any(target.state_forced.ran for target in parity.targets)
    energy = read_energy(folder / "energy.json")
    assert energy.counts.operations_per_image["spikes"] == (1984 + 452) / 12
    loihi, arithmetic = energy.estimates
    assert loihi.joules_per_image == 2.6099958333333334e-07
    assert (loihi.others, arithmetic.others) == ({}, {"ann": 1.22544e-08})
    assert sum(arithmetic.parts().values()) == pytest.approx(arithmetic.joules)


def test_only_our_files_in_the_folder_are_replaced(run, tmp_path):
    out = tmp_path / "site"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "report.html").write_text("old")
    assert called("report", run, "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {"notes.txt", *FILES}
    assert (out / "notes.txt").read_text() == "mine"
    assert not any((run / file).exists() for file in FILES)


def test_an_out_that_is_a_file_is_refused(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["report", str(run), "--out", str(tmp_path / "file")]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["gone"], ["FOLDER"], ["FILE"]])
def test_what_is_no_run_is_refused(arguments, tmp_path, graph, capsys):
    write(graph, tmp_path / "net.nir")
    known = {"FOLDER": tmp_path, "FILE": tmp_path / "net.nir"}
    assert main(["report", *(str(known.get(a, a)) for a in arguments)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_nir_file_has_a_page_of_its_certificate(tmp_path, graph):
    write(graph, tmp_path / "net.nir")
    out = tmp_path / "out"
    assert called("report", tmp_path / "net.nir", "--out", out) == 0
    text = (out / "report.html").read_text()
    check_page(text)
    assert "proved exact" in text


def published() -> dict:
    text = (files("targets") / "schemas" / "report.schema.json").read_text()
    return json.loads(text)


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14),
    reason="pydantic before 2.14 writes the same schema in another form",
)
def test_the_published_schema_is_that_of_the_code():
    """After a change: python -m targets.report.model > that file."""
    assert published() == json_schema()


def test_the_json_is_what_the_schema_says_and_reads_back(run, report):
    assert called("report", run) == 0
    text = (run / "report.json").read_text()
    jsonschema.Draft202012Validator.check_schema(published())
    jsonschema.validate(json.loads(text), published())
    assert json.loads(text)["schema"] == "stars.report/1"
    back = Report.model_validate_json(text)
    assert back.to_json() == json.loads(text)
    assert back.parity == report.parity


def test_the_schema_refuses_another_version(report):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {**report.to_json(), "schema": "stars.report/2"}, published()
        )


def test_the_same_run_gives_the_same_bytes(run):
    assert called("report", run) == 0
    first = [(run / file).read_bytes() for file in FILES]
    assert called("report", run) == 0
    assert [(run / file).read_bytes() for file in FILES] == first


def hostile(report: Report) -> Report:
    """The report with every name from a user replaced by HTML and Markdown."""
    text = json.dumps(report.to_json())
    for layer in report.network.layers:
        text = text.replace(json.dumps(layer.name), json.dumps(HOSTILE + layer.name))
    values = {**json.loads(text), "name": HOSTILE, "path": HOSTILE}
    values["provenance"] |= {"teacher": HOSTILE, "command": HOSTILE}
    values["provenance"]["config"] = {HOSTILE: HOSTILE}
    values["warnings"] = [HOSTILE]
    values["missing"] = [{"section": "parity", "reason": HOSTILE, "remedy": HOSTILE}]
    return Report.model_validate(values)


def test_what_a_user_names_is_text_and_never_markup(report):
    bad = hostile(report)
    page = check_page(report_html(bad, None))
    assert page.all("h1")[0]["text"] == HOSTILE
    assert not page.all("img")
    assert not any("onerror" in one for one in page.elements)
    pair = comparison_html(side_by_side([bad, report]))
    assert not check_page(pair).all("img")
    card = model_card(bad)
    assert "<img" not in card.replace("\\<img", "")
    assert card.split("---\n\n", 1)[1].startswith("# \\<img")


def test_the_card_says_what_it_is_and_how_good(report):
    card = model_card(report)
    for words in (
        "Data-free: no real image was used",
        "| student on the grid, as exported | 50.00 % |",
        "Certificate for T = 4: spikes and membranes exact.",
        "| loihi | exact |",
        "per image, over 5 images: exact counts",
        "## Intended use",
        "## Limits",
        "student.nir | unchanged | ",
    ):
        assert words in card
    assert "\n\n\n" not in card


def test_hugging_face_reads_the_front_matter(report):
    card = ModelCard(model_card(report))  # raises if the metadata are wrong
    assert card.data.library_name == "stars-snn"
    assert card.data.pipeline_tag == "image-classification"
    assert "spiking-neural-network" in card.data.tags
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.5)
    assert result.dataset_name == "test images of the run"
    assert card.text.lstrip().startswith("# ")
    assert "/" not in str(card.data.to_dict())  # no path of this machine


def test_the_bundled_teacher_and_its_images_are_named_with_their_licenses(report):
    bundled = report.model_copy(
        update={
            "provenance": Provenance(data_free=True, teacher="fashion-mnist"),
            "accuracies": Accuracies(grid=0.884, test_data="fashion-mnist@test[:9]"),
        }
    )
    card = ModelCard(model_card(bundled))
    assert card.data.license == "mit"
    assert card.data.datasets == ["zalando-datasets/fashion_mnist"]
    assert card.data.eval_results[0].dataset_type == "zalando-datasets/fashion_mnist"
    assert "MIT license of STARS" in card.text
    unmeasured = report.model_copy(update={"accuracies": Accuracies()})
    card = ModelCard(model_card(unmeasured))
    assert card.data.license == "other"
    assert card.data.eval_results is None
    assert "not recorded. Ask whoever made it" in card.text


def test_names_of_a_user_do_not_break_the_front_matter(report):
    hostile = report.model_copy(update={"name": "a: [b\n---\n#x\"'"})
    card = ModelCard(model_card(hostile))
    assert card.data.model_name == "a: [b\n---\n#x\"'"
    assert card.data.license == "other"


def test_a_student_of_real_images_says_so(graph, tmp_path):
    report = collect(make_run(tmp_path, graph, data="cifar10").path, simulate=False)
    assert "Not data-free: trained on the real images of cifar10." in model_card(report)


def test_the_command_prints_the_json_of_the_file(run, capsys):
    assert main(["--quiet", "report", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run / "report.json").read_text())


def test_the_report_needs_no_torch(run):
    code = (
        "import sys; from cli.main import main;"
        f"code = main(['--quiet', 'report', {str(run)!r}]);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


def test_runs_side_by_side_show_only_settings_that_differ(graph, run, tmp_path, capsys):
    other = make_run(tmp_path / "b", graph, seed=7).path
    arguments = ["compare", str(run), str(other), "--out", str(tmp_path / "out")]
    assert main(["--quiet", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["schema"] == "stars.compare/1"
    assert found["verdicts"] == ["exact", "unknown"]
    changed = {row["name"]: row["values"] for row in found["differences"]}
    assert changed.keys() == {"seed", "test_data"}
    assert changed["seed"] == ["0", "7"]
    rows = {row["name"]: row["values"] for row in found["measured"]}
    assert rows["accuracy on the grid"] == ["50.00 %", "50.00 %"]
    assert rows["energy per image, Loihi 1"][1] == "-"
    assert found["runs"] == [str(run), str(other)]  # both are called "run"
    check_page((tmp_path / "out" / "compare.html").read_text())
    assert main(["--quiet", *arguments[:3]]) == 0
    assert "accuracy on the grid" in capsys.readouterr().out


def test_a_comparison_has_differences_best_values_seeds_and_curves(graph, tmp_path):
    reports = []
    for seed, accuracy in ((0, 0.5), (1, 0.7), (2, 0.6)):
        made = make_run(tmp_path / "same", graph, seed=seed)
        made.add_to_manifest({"grid_accuracy": accuracy, "seconds": 10.0 + seed})
        reports.append(collect(made.path, simulate=False))
        shutil.move(made.path, tmp_path / f"run{seed}")
    reports = [
        one.model_copy(update={"name": f"run{i}"}) for i, one in enumerate(reports)
    ]
    found = side_by_side(reports)
    rows = {row.name: row for row in found.measured}
    accuracy = rows["accuracy on the grid"]
    assert accuracy.deltas == ("", "+20.00 points", "+10.00 points")
    assert accuracy.best == (1,)
    assert accuracy.cells[1] == "70.00 % (+20.00 points) *"
    assert rows["seconds"].best == (0,)
    assert rows["seconds"].deltas[1] == "1.10x"
    assert rows["neurons"].best == ()  # all are equal
    (group,) = found.seeds
    assert group.runs == ("run0", "run1", "run2")
    assert group.means["accuracy on the grid"] == "60.00 % ± 10.00 %"
    page = comparison_html(found)
    parsed = check_page(page)
    assert "plot-curves-0" in {one["id"] for one in parsed.all("svg", role="img")}
    assert "3 seeds of one configuration" in page
    (curve,) = [one for one in found.curves if one == "kl"]
    assert [one.values[-1] for one in found.curves[curve]] == [1 / 3] * 3


def test_one_run_is_nothing_to_compare(run, capsys):
    assert main(["compare", str(run)]) == 2
    assert "give two or more" in capsys.readouterr().err


def test_terms_are_compared_by_their_name():
    loss = [{"name": "kl", "weight": 1.0}, {"name": "nld", "weight": 2.0}]
    found = dict(flat({"loss": loss, "widths": [1, 2], "a": {"b": None}}))
    assert found == {
        "loss.kl.weight": "1.0",
        "loss.nld.weight": "2.0",
        "widths": "[1, 2]",
        "a.b": "null",
    }


def test_counts_in_cells_are_short():
    counts = [0, 7, 999, 1000, 23_456, 9_990_000]
    assert list(map(compact, counts)) == ["0", "7", "999", "1k", "23k", "10M"]


def test_an_axis_of_powers_of_ten_encloses_its_values():
    assert list(decades(2.4e-6, 4.9e-5)) == [-6, -5, -4]
    assert list(decades(1e-6, 1e-6)) == [-6]


def test_long_names_lose_their_middle():
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert shortened("abc", 5) == "abc"


def test_a_bar_is_as_long_as_its_share():
    plot = accuracy_plot(Accuracies(grid=0.25))
    bars = re.findall(r'width="([\d.]+)" height="10" class="c1"', str(plot.svg))
    assert bars == [str(WIDTH // 4)]
    assert accuracy_plot(Accuracies()) is None


def test_a_gauge_over_its_limit_says_so_in_words_too():
    gauges = [
        Gauge(group="g", resource="cores", used=130, limit=128, unit="", source="s"),
        Gauge(group="g", resource="axons", used=1, limit=4, unit="", source="s"),
        Gauge(group="h", resource="bits", used=1, limit=2, unit="bits", source="s"),
    ]
    first, second = gauge_plots(gauges)
    assert first.summary == "Over the limit: cores."
    assert "130 of 128 over" in str(first.svg)
    assert second.summary == "All values are within their limits."


def test_the_gauges_are_the_bits_of_the_certificate_and_the_cores_of_chips(
    report, graph
):
    bits = [gauge for gauge in report.gauges if gauge.unit == "bits"]
    groups = {gauge.group: gauge.limit for gauge in bits}
    assert groups == {"accumulator": 17, "membrane": 24, "float32 mantissa": 24}
    assert [g.resource for g in bits[::3]] == list(graph.neurons)
    assert all(gauge.fits for gauge in bits)
    cores = [gauge for gauge in report.gauges if gauge.unit == "cores (1 chip)"]
    assert [gauge.limit for gauge in cores] == [128] * 4
    # A spike of Loihi 1 cannot carry an 8-bit pixel.
    assert [g.group for g in report.gauges if not g.fits] == ["cores of Loihi 1, 14 nm"]


def test_a_heat_map_of_many_steps_has_no_numbers_in_it():
    counts = [[0] * 100, [0] * 99 + [12_345]]
    plot = step_plot(
        StepMap(targets=["loihi"], images=1, layers=["a", "b"], counts=counts)
    )
    assert plot.summary == "12,345 mismatches in 2 layers."
    assert str(plot.svg).count("<rect") == 200
    assert "12k" not in str(plot.svg)
    assert 'class="heat-5"' in str(plot.svg)


def test_parts_and_networks_that_are_not_known_yet_are_shown_as_they_are(run):
    content = json.loads((run / "energy.json").read_text())
    estimate = content["estimates"][0]
    layer = {"name": "l", "ac": 4.0, "routing": 2.0, "total": 6.0}
    for key in list(estimate):
        if key.endswith("_joules_per_image"):
            estimate[key] = None
    estimate |= {"bnn_joules_per_image": 5.0, "layers": [layer]}
    write_json(run / "energy.json", content)
    found = read_energy(run / "energy.json").estimates[0]
    assert found.others == {"bnn": 5.0}
    assert found.layers[0].parts() == {"ac": 4.0, "routing": 2.0}
    assert found.parts() == {"ac": 4.0, "routing": 2.0}
    page = report_html(collect(run), None)
    assert "BNN of the same topology" in page
    assert '<th scope="col">routing</th>' in page


def test_a_network_is_named_as_what_it_is():
    named = [others_name(one) for one in ("ann", "teacher", "teacher_zero_skipping")]
    assert named == ["ANN of the same topology", "teacher", "teacher, zeros skipped"]


def test_the_mean_rate_counts_neurons_as_the_energy_report_does(tmp_path):
    graph = random_graph(np.random.default_rng(4), kind="vgg")
    path = make_run(tmp_path, graph).path
    assert called("parity", path, "--target", "loihi") == 0
    assert called("energy", path, "--table", "loihi1") == 0
    report = collect(path)
    assert mean_rate(report) == pytest.approx(report.energy.counts.spike_rate)
    plain = np.mean([row.rate for row in report.rates])
    assert mean_rate(report) != pytest.approx(plain, rel=1e-3)
    assert f"{100 * mean_rate(report):.2f} %" in report_html(report, None)


def test_the_page_says_what_check_says_of_each_chip(measured, capsys):
    report = collect(measured)
    page = report_html(report, None)
    for chip, fit in zip(("loihi1", "loihi2"), report.chips, strict=True):
        assert main(["check", str(measured), "--chip", chip]) == (0 if fit.ok else 4)
        out = " ".join(capsys.readouterr().out.split())
        assert out.startswith(f"{fit.title}: {fit.verdict}")
        assert f"{fit.verdict}." in page
        assert "with every synapse stored" in fit.verdict
        assert "with shared kernels at least" in fit.verdict


def test_the_first_screen_says_what_was_lost_and_what_is_gained(report, page):
    assert lost(report) == "-40.0 points against the teacher"
    assert '<span class="bad">-40.0 points' in page
    found = replaced(report)
    priced = [
        one.joules_per_image / other.joules_per_image
        for one in report.energy.estimates
        for other in one.alternatives
        if other.name == "ann" and other.joules_per_image
    ]
    wins = sum(ratio < 1 for ratio in priced)
    assert found.answer == f"under {wins} of {len(priced)}"
    assert "against the ANN of the same topology" in found.detail
    assert all(f"{ratio:.2f}x" in found.detail for ratio in priced)
    assert replaced(report.model_copy(update={"energy": None})) is None
    for chip in report.chips:
        assert f"{chip.title}: {'yes' if chip.ok else 'no'}" in page


def test_where_teacher_and_network_disagree_is_shown_by_index(report, graph, measured):
    run = Run.open(measured)
    images = np.load(run.path.parent / "test.npz")["images"]
    inputs = graph.encoding.encode(images, graph.steps)
    own = tuple(reference.run(graph, inputs).decisions().tolist())
    assert report.energy.decisions == own
    assert agreement_plot(report.energy) is None  # the teacher takes other images
    other = (own[0] + 1) % 4
    teacher = report.energy.teacher.model_copy(update={"decisions": (other, *own[1:])})
    energy = report.energy.model_copy(update={"teacher": teacher})
    plot = agreement_plot(energy)
    assert plot.summary == f"The two agree on {COUNT - 1} of {COUNT} images."
    assert "they disagree on 1: number 0." in plot.note
    assert plot.rows[other][1 + own[0]] == "1"
    assert sum(int(cell) for row in plot.rows for cell in row[1:]) == COUNT
    page = report_html(report.model_copy(update={"energy": energy}), None)
    drawn = check_page(page).all("svg", role="img")
    assert "plot-agreement" in {one["id"] for one in drawn}
    huge = teacher.model_copy(update={"decisions": (10**9,) * COUNT})
    assert agreement_plot(energy.model_copy(update={"teacher": huge})) is None


def test_the_network_is_a_drawing_with_shapes_and_rates(report):
    plot = network_plot(report.network, report.rates)
    drawn = str(plot.svg)
    for layer in report.network.layers:
        assert layer.name in drawn
        assert " x ".join(map(str, layer.shape)) in drawn
    assert [row[0] for row in plot.rows] == [one.name for one in report.network.layers]
    assert plot.rows[0][4] == f"{100 * report.rates[0].rate:.2f} %"


def test_one_energy_plot_of_layers_shows_and_terms_lead_to_the_glossary(page):
    parsed = Page(page)
    (chosen,) = parsed.all("select", id="choose-energy")
    assert chosen["data-shows"] == "energy-layers"
    assert len(re.findall(r"<figure hidden>", page)) >= 6
    links = [one["href"] for one in parsed.all("a") if "#term-" in one["href"]]
    ids = {one["id"] for one in parsed.elements if "id" in one}
    assert links
    assert {link[1:] for link in links} <= ids


def test_the_target_that_all_were_compared_with_is_not_counted():
    def target(name: str, *, substituted: bool = False) -> dict:
        return {
            "name": name,
            "images": 1,
            "decisions_agree": 1,
            "seconds": 0.0,
            "substituted": substituted,
            "layers": [layer],
        }

    layer = {
        "node": "a",
        "neuron_steps": 10,
        "spike_mismatches": 0,
        "membrane_steps": 10,
        "membrane_mismatches": 0,
    }
    names = ["reference", "onnx", "norse"]
    values = {"images": 1, "steps": 1, "neurons": 10}
    parity = ParityReport(**values, targets=[target(name) for name in names])
    assert [t.name for t in parity.compared] == ["onnx", "norse"]
    other = ParityReport(
        **values, against="onnx", targets=[target(name) for name in names]
    )
    assert [t.name for t in other.compared] == ["reference", "norse"]
    report = Report(
        name="n",
        path="p",
        stars_version="0",
        accuracies=Accuracies(),
        provenance=Provenance(data_free=None),
        parity=other,
    )
    assert "compared with onnx" in verdict(report).detail
    alone = ParityReport(**values, targets=[target("reference", substituted=True)])
    assert len(alone.compared) == 1


def test_a_place_reads_as_a_phrase():
    place = Divergence(
        node="a", step=1, sample=2, neuron=(3,), kind="membrane", actual=0.5, desired=1
    )
    assert str(place) == (
        "layer 'a', step 1, neuron (3,), image 2: membrane 0.5, expected 1"
    )
