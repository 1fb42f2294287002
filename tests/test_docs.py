"""Every code block of the documentation is run, or states why it is not run.

A comment before a block says what happens to it:

    <!-- run: NAME -->            run here, in a folder that PREPARATIONS[NAME] fills
    <!-- run by: PATH::TEST -->   that test runs it
    <!-- not run: REASON -->      only its syntax, and that of its commands, is checked
"""

from __future__ import annotations

import re
import shlex
import shutil
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from cli.main import main
from export import to_lava, to_nir, to_onnx
from export.from_nir import read
from stars.graph import reference
from stars.graph.nodes import LIF
from stars.testing import random_graph, random_images, random_inputs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [*TOP, *sorted(str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md"))]
GENERATED = {"docs/reference/cli.md"}  # by docs/hooks.py, when the site is built
MARK = re.compile(r"^<!-- (run|run by|not run): (.*) -->$", re.MULTILINE)
BLOCK = re.compile(
    r"(?:^<!-- (?P<kind>run|run by|not run): (?P<what>[^\n]*) -->\n\n?)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INDENTED = re.compile(r"^    (stars (?:.*\\\n)*.*)$", re.MULTILINE)
PRINTED = re.compile(r"# -> (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, language, mark (`kind: what`) and text."""

    page: str
    language: str
    kind: str | None
    what: str | None
    text: str


def page_text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [
        Block(page, m["language"], m["kind"], m["what"], m["text"])
        for m in BLOCK.finditer(page_text(page))
    ]


def lines(text: str) -> list[str]:
    """The lines of a block of shell, continued ones joined."""
    return [x for x in text.replace("\\\n", " ").splitlines() if x.strip()]


def commands(text: str) -> list[list[str]]:
    """The arguments of every line that runs `stars`."""
    found = [line for line in lines(text) if line.startswith("stars ")]
    return [shlex.split(line, comments=True)[1:] for line in found]


BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN_HERE = sorted({(b.page, str(b.what)) for b in BLOCKS if b.kind == "run"})


# What the blocks find in their folder. Each function fills it, hands names to the
# blocks of Python, and may look at what the blocks left in them.


@contextmanager
def network_example(_request: Any) -> Iterator[dict[str, Any]]:
    """Nothing: the block writes its own file."""
    yield {}


@contextmanager
def network_of_another_tool(_request: Any) -> Iterator[dict[str, Any]]:
    """net.nir, without dt or T, and spikes.npy."""
    ones = np.ones(3)
    neuron = nir.IF(r=10000 * ones, v_threshold=2 * ones)  # dt r = 1
    weights = nir.Affine(np.array([[1.0, -0.5], [0.5, 1.0], [-1.0, 0.25]]), 0 * ones)
    ends = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([3]))}
    nodes = {**ends, "fc": weights, "if": neuron}
    edges = [("input", "fc"), ("fc", "if"), ("if", "output")]
    nir.write("net.nir", nir.NIRGraph(nodes, edges))
    rng = np.random.default_rng(0)
    np.save("spikes.npy", rng.integers(0, 2, (256, 2, 2)).astype(float))
    yield {}


@contextmanager
def float_networks(_request: Any) -> Iterator[dict[str, Any]]:
    """float.nir and other.nir, off the grid, and images; see guides/lava.md."""
    rng = np.random.default_rng(1)
    graph = random_graph(rng, kind="conv", on_grid=False)
    for name, ratio in (("float", 2), ("other", 3)):
        tau = ratio * graph.dt
        uniform = {n: LIF.uniform(graph.shapes[n], tau=tau) for n in graph.spiking}
        file = to_nir.to_nir(graph.replace_nodes(uniform))
        if name == "other":
            file.metadata = {}
        nir.write(f"{name}.nir", file)
    images = random_images(rng, 5, graph.shapes[graph.input])
    np.save("images.npy", images)
    np.savez("test.npz", images=images, labels=np.arange(5) % 4)
    yield {}
    if Path("bundle").exists():
        found = {path.name for path in Path("bundle").iterdir()}
        table = re.findall(r"^\| `([\w.]+)` \|", page_text(LAVA), re.MULTILINE)
        assert set(table) == found


@contextmanager
def stream(_request: Any) -> Iterator[dict[str, Any]]:
    """student.onnx, and a camera that gives frames in chunks."""
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="residual")
    inputs = random_inputs(rng, graph, 1, steps=9)
    to_onnx.write(graph, Path("student.onnx"))
    chunks = np.split(inputs.astype(np.float32), [2, 3, 7])
    names: dict[str, Any] = {"camera": lambda: iter(chunks)}
    yield names
    desired = reference.run(graph, inputs).membranes
    for name in graph.neurons:
        np.testing.assert_array_equal(
            names["state"][f"state/{name}"], desired[name][-1]
        )
    classes = [desired[graph.readout][end - 1].argmax(-1) for end in (2, 3, 7, 9)]
    assert names["printed"] == [f"class so far: {one}" for one in classes]


@contextmanager
def graph_on_the_grid(_request: Any) -> Iterator[dict[str, Any]]:
    """`graph`, on the grid, and its `inputs`."""
    rng = np.random.default_rng(0)
    graph = random_graph(rng, kind="conv")
    names = {"graph": graph, "inputs": random_inputs(rng, graph, 3)}
    yield names
    desired = reference.run(graph, names["inputs"])
    for name in graph.spiking:
        np.testing.assert_array_equal(names["trace"].spikes[name], desired.spikes[name])
    (*_, last) = page_text(LOIHI).split("certify(graph, 64).verdict  # ")
    assert names["certify"](names["graph"], 64).verdict == last.splitlines()[0]


@contextmanager
def run_directory(request: Any) -> Iterator[dict[str, Any]]:
    """Three run directories, and files that the pages name beside them."""
    done = request.getfixturevalue("finished_run")
    for name in ("mine", "demo", "other"):
        shutil.copytree(done / "run", Path("runs") / name)
    shutil.copy(done / "test.npz", "test.npz")
    shutil.copy("runs/mine/artifacts/student.nir", "net.nir")
    to_onnx.write(read(Path("net.nir")), Path("net.onnx"))
    with np.load("test.npz") as images:
        np.save("x.npy", images["images"])
    table = ROOT / "targets" / "hardware" / "horowitz45.toml"
    text = table.read_text(encoding="utf-8").replace('"horowitz45"', '"mine"', 1)
    Path("mine.toml").write_text(text, encoding="utf-8")
    yield {}


@contextmanager
def python_api(request: Any) -> Iterator[dict[str, Any]]:
    """`images`, and a preset `quick` that takes seconds."""
    from stars.config import presets  # noqa: PLC0415 - no need for the others

    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setitem(presets.STARTED_PRESETS, "quick", SMALLEST)
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), dtype=np.uint8)
    names: dict[str, Any] = {"images": images}
    yield names
    assert names["report"].ok
    assert Path("student.nir").is_file()
    assert names["printed"]


LAVA, LOIHI = "docs/guides/lava.md", "docs/concepts/loihi.md"
SMALLEST = {
    "trouble": "warn",
    "test_data": "none",
    "backend": "norse-eager",  # nothing to compile
    "student": {
        "start": "fresh",
        "steps": 2,
        "architecture": "resnet",
        "options": {"widths": [4, 6], "depths": [1, 1]},
    },
    "loss": [{"name": "kl"}],
    "synthesis": {"rounds": 1, "steps": 1, "batch_size": 12, "harvest": 1, "width": 4},
    "training": {"steps": 2, "batch_size": 12},
    "grid": {"steps": 1},
}
PREPARATIONS: dict[str, Callable[[Any], AbstractContextManager[dict[str, Any]]]] = {
    "example of a network": network_example,
    "nir": network_of_another_tool,
    "deploy": float_networks,
    "onnx stream": stream,
    "a graph on the grid": graph_on_the_grid,
    "run directory": run_directory,
    "python api": python_api,
}


@pytest.fixture(scope="module")
def finished_run(
    make_teacher: Callable[..., Any],
    striped: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with `run`, a run directory of seconds, and its test images."""
    from stars.teacher import save  # noqa: PLC0415 - the other tests need no torch

    folder = tmp_path_factory.mktemp("docs")
    save(make_teacher(), folder / "teacher.safetensors")
    test = striped(12)
    np.savez(folder / "test.npz", images=test.images, labels=test.labels)
    (folder / "tiny.toml").write_text(
        'test_data = "test.npz"\ntrouble = "warn"\n'
        "[student]\nsteps = 2\noptions = { widths = [3, 4], depths = [1, 1] }\n"
        "[synthesis]\nrounds = 1\nsteps = 2\nbatch_size = 12\nharvest = 2\n"
        "latent = 4\nwidth = 4\nbank = 60\n"
        "[training]\nsteps = 4\nbatch_size = 12\n[grid]\nsteps = 2\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("STARS_BACKEND", "norse-eager")  # nothing to compile
        teacher = ["--teacher", "teacher.safetensors"]
        run = ["distill", "--config", "tiny.toml", *teacher, "--out", "run"]
        assert main(["--quiet", *run]) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; Lava is left out, for it would take minutes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STARS_LAVA_ENV", str(tmp_path / "no-lava"))
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "name"), RUN_HERE)
def test_the_blocks_of_a_page_run(
    page: str,
    name: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = [b for b in blocks(page) if (b.kind, b.what) == ("run", name)]
    with PREPARATIONS[name](request) as names:
        capsys.readouterr()
        for block in chosen:
            if block.language == "python":
                exec(compile(block.text, page, "exec"), names)
                names["printed"] = capsys.readouterr().out.splitlines()
                comments = PRINTED.findall(block.text)
                assert comments in ([], names["printed"])
            for arguments in commands(block.text) if block.language == "sh" else ():
                code = main(["--quiet", *arguments])
                assert code == 0, (arguments, capsys.readouterr().err)


@pytest.mark.usefixtures("folder")
def test_a_substituted_network_fails_parity(request: pytest.FixtureRequest) -> None:
    with run_directory(request):
        graph = read(Path("net.nir"))
        name = next(iter(graph.spiking))
        node = graph.nodes[name]
        assert isinstance(node, LIF)
        tau = 2 * np.asarray(node.tau)
        changed = LIF.uniform(graph.shapes[name], tau=float(tau.flat[0]))
        to_nir.write(graph.replace_nodes({name: changed}), Path("other.nir"))
        (line,) = [x for x in commands(page_text(PARITY)) if "--substitute" in x]
        assert main(["--quiet", *line]) == 3


PARITY = "docs/concepts/parity.md"


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_unaccounted_for(page: str) -> None:
    found = blocks(page)
    assert len(MARK.findall(page_text(page))) == sum(b.kind is not None for b in found)
    assert page_text(page).count("```") == 2 * len(found)  # none is indented
    for block in found:
        assert block.language in {"python", "sh", "toml"}, block
        assert block.language == "toml" or block.kind is not None, block
        if block.kind == "run":
            assert block.what in PREPARATIONS
            rest = [x for x in lines(block.text) if not x.startswith("stars ")]
            assert block.language == "python" or not rest
        if block.kind == "run by":
            path, name = str(block.what).split("::")
            source = (ROOT / path).read_text(encoding="utf-8")
            assert f"\ndef {name}(" in source
        if block.language == "python":
            compile(block.text, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page: str, parse: Callable[[list[str]], None]) -> None:
    text = page_text(page)
    shown = [b.text for b in blocks(page) if b.language == "sh"]
    shown += INDENTED.findall(text)
    for arguments in (x for part in shown for x in commands(part)):
        parse([x for x in arguments if not x.startswith("$")])


def test_the_way_to_lava_has_every_command() -> None:
    shown = [b.text for b in blocks(LAVA) if b.language == "sh"]
    found = {arguments[0] for text in shown for arguments in commands(text)}
    assert found == {"quantize", "check", "export", "parity"}


def test_the_lines_for_plain_lava_are_those_of_the_bundles_readme(
    tmp_path: Path,
) -> None:
    """tests/export/test_to_lava.py runs them in Lava's environment."""
    to_lava.write(random_graph(np.random.default_rng(0), kind="mlp"), tmp_path / "b")
    text = (tmp_path / "b/README.md").read_text(encoding="utf-8")
    (example,) = [b.text for b in blocks(LAVA) if b.language == "python"]
    assert f"```python\n{example}```" in text


def test_every_fault_in_the_table_names_a_test_that_exists() -> None:
    text = page_text("docs/results/robustness.md")
    rows = [x for x in text.splitlines() if x.startswith("| ") and "fault |" not in x]
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", text)
    assert len(named) == len(rows) > 20
    for path, name in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"\ndef {name}(" in source, name


def headings(page: str) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page_text(page), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.*)$", text, re.MULTILINE)


def site_anchor(heading: str) -> str:
    """The anchor that mkdocs makes of a heading."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def repository_anchor(heading: str) -> str:
    """The anchor that the site of a repository makes of a heading."""
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = re.sub(r"`[^`\n]*`", "", page_text(page))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        where = (ROOT / page).parent / path if path else ROOT / page
        target = str(where.resolve().relative_to(ROOT))
        if page.startswith("docs/"):
            assert target.startswith("docs/"), link  # the site has nothing else
        if target in GENERATED:
            continue
        assert (ROOT / target).is_file(), link
        if anchor:
            assert anchor in map(site_anchor, headings(target)), link
            assert anchor in map(repository_anchor, headings(target)), link


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_american_and_numbers_have_their_zero(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", page_text(page), flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`]*`", "", text)
    assert not re.findall(r"(?<![\w.\]/)])\.\d+", prose)
    british = r"\w*(?:quantis|normalis|synthesis(?:e|ing)|optimis|behaviour|colour)\w*"
    assert not re.findall(british, prose, re.IGNORECASE)
    assert not re.findall(r"\b(?:distil|distils|licence|grey)\b", prose)


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.svg")), ids=lambda p: p.name)
def test_a_drawing_is_whole_and_says_what_it_shows(path: Path) -> None:
    root = ET.parse(path).getroot()
    for part in ("title", "desc"):
        found = root.find(f"{{http://www.w3.org/2000/svg}}{part}")
        assert found is not None
        assert found.text
