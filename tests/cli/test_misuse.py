"""Misuse of the command line: one clear error each, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from cli import options
from cli.main import COMMANDS, EXAMPLES, GROUPS, SECTIONS, build_app, main
from export.c.program import Kernels
from export.formats import BACKENDS
from export.to_onnx import FORMS
from stars.config.presets import PRESETS
from stars.errors import guess
from stars.losses import LOSSES
from stars.networks.architectures import ARCHITECTURES
from stars.priors import PRIORS
from stars.synthesis import METHODS
from targets import table
from targets.hardware.costs import TABLES
from targets.hardware.limits import CHIPS, MICROCONTROLLERS
from targets.installation import REMEDIES


@pytest.fixture
def run(proved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(proved, tmp_path / "run")


def failed(capsys, *arguments, code=2):
    assert main([str(one) for one in arguments]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "unexpected" not in streams.err
    return streams.err


# -- files that exist, endings, folders


WRITERS = {
    "export": ["export", "run", "--target", "onnx", "--out", "new.onnx"],
    "quantize": ["quantize", "run", "--out", "new.nir", "--images", "2"],
}


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("arguments", WRITERS.values(), ids=WRITERS)
def test_a_file_that_exists_is_kept_without_force(capsys, tmp_path, arguments):
    out = tmp_path / arguments[arguments.index("--out") + 1]
    out.write_text("mine")
    assert "exists; give another --out, or --force" in failed(capsys, *arguments)
    assert out.read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert out.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("target", "out", "message"),
    [
        ("nir", "net.onnx", "format 'nir' has the ending .nir"),
        ("onnx", "net.nir", "format 'onnx' has the ending .onnx"),
        ("lava", "bundle.nir", "format 'lava' has no ending: it is a folder"),
        ("nir", "folder.nir", "is a folder; format 'nir' writes a file"),
        ("lava", "file", "is a file; format 'lava' writes a folder"),
    ],
)
def test_an_out_that_contradicts_the_format_is_refused(
    run, capsys, tmp_path, target, out, message
):
    (tmp_path / "folder.nir").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for force in ([], ["--force"]):
        said = failed(capsys, "export", run, "--target", target, "--out", out, *force)
        assert message in said
    assert sorted(tmp_path.rglob("*")) == before


# -- names


def test_a_near_miss_is_guessed_and_nothing_else_is():
    assert guess("quik", PRESETS) == " (did you mean 'quick'?)"
    assert guess("something", PRESETS) == ""


NEAR = {
    "target": (["parity", "run", "--target", "lohi"], "'loihi'"),
    "against": (["parity", "run", "--against", "nors"], "'norse'"),
    "format": (["export", "run", "--target", "onx"], "'onnx'"),
    "form": (["export", "run", "--target", "onnx", "--form", "scam"], "'scan'"),
    "chip": (["check", "run", "--chip", "loihi3"], "'loihi2'"),
    "table": (["energy", "run", "--table", "horowitz"], "'horowitz45'"),
    "capability": (["doctor", "--require", "onx"], "'onnx'"),
    "run": (["parity", "rum"], "'run'"),
    "report": (["report", "rum"], "'run'"),
    "compare": (["compare", "run", "rum"], "'run'"),
    "preset": (["distill", "--out", "new", "--preset", "quik"], "'quick'"),
    "loss": (["distill", "--out", "new", "--loss", "tsr"], "'tser'"),
    "prior": (["distill", "--out", "new", "--add-prior", "tial"], "'tail'"),
    "method": (["distill", "--out", "new", "--method", "cmii"], "'cmi'"),
    "student": (["distill", "--out", "new", "--student", "resnet19"], "'resnet18'"),
    "data": (["distill", "--out", "new", "--test-data", "fashion-mnst"], "fashion-mn"),
    "command": (["partiy", "run"], "'parity'"),
}


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(("arguments", "guessed"), NEAR.values(), ids=NEAR)
def test_an_unknown_name_gets_the_nearest_one(capsys, arguments, guessed):
    said = failed(capsys, *arguments)
    assert guessed in said[said.lower().index("did you mean") :]


def test_a_key_of_a_configuration_gets_the_nearest_one(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nbatchsize = 3\n")
    said = failed(capsys, "distill", "--out", tmp_path / "new", "--config", path)
    assert "did you mean" in said


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("command", ["parity", "energy", "quantize"])
def test_too_many_images_are_refused_with_the_number_that_there_is(capsys, command):
    extra = ["--out", "new.nir"] if command == "quantize" else []
    said = failed(capsys, command, "run", "--images", 999_999, *extra)
    assert "999" in said
    assert "1 to 5" in said


# -- a user's own code


CODE = """
import torch
from torch import nn

def teacher():
    return {}["missing"]

def build():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)
            self.head = nn.Linear(1, 3)
        def forward(self, x):
            raise KeyError("inside")
    return Broken()
"""


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("own:teacher", "line 6, in teacher"),
        ("own:build", "line 15, in forward"),
        ("wrong:any", "line 1, in <module>"),
    ],
)
def test_code_of_the_user_that_raises_is_named_with_file_and_line(
    capsys, tmp_path, monkeypatch, source, place
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    (tmp_path / "mine.toml").write_text(
        "[teacher]\ninput_shape = [1, 8, 8]\nclasses = 3\nmean = [0.5]\n"
        "deviation = [0.5]\n"
    )
    given = ("--config", "mine.toml", "--teacher", source)
    said = failed(capsys, "distill", "--out", "new", *given)
    module = source.partition(":")[0]
    assert re.search(rf"teacher '{source}'(: its forward pass)? raised", said)
    assert f"(in '{tmp_path / module}.py', {place})" in said
    assert not (tmp_path / "new").exists()


# -- streams


def process(*arguments, **options):
    command = [sys.executable, "-m", "stars", *map(str, arguments)]
    return subprocess.run(command, check=False, stderr=subprocess.PIPE, **options)


def test_an_output_that_is_not_unicode_spells_its_signs(run):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = process("compare", run, run, stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0, done.stderr
    assert b" nJ" in done.stdout
    done = process("energy", run, stdout=subprocess.PIPE, env=environment)
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")


def test_a_reader_that_stops_early_is_no_error(run):
    reading, writing = os.pipe()
    os.close(reading)
    done = process("compare", run, run, stdout=writing)
    os.close(writing)
    assert done.stderr == b""


def test_a_full_disk_is_said_in_one_line(run):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = process("compare", run, run, "--json", stdout=full)
    assert done.returncode == 2
    assert done.stderr == (b"error: cannot print the result: No space left on device\n")


def test_a_closed_output_is_no_error(run):
    command = f"{sys.executable} -m stars compare {run} {run} >&-"
    done = subprocess.run(command, shell=True, check=False, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


# -- options that every command has, and their values


@pytest.mark.usefixtures("run")
def test_quiet_may_follow_the_command(capsys):
    Path("run/parity.json").unlink()  # a wider one that stays would be a warning
    arguments = ["parity", "run", "--target", "loihi", "--images", "1", "--json"]
    assert main([*arguments, "--quiet"]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["ok"] is True
    assert streams.err == ""


NAMES = [
    *COMMANDS,
    *GROUPS,
    *(f"{g} {c}" for g, inner in GROUPS.items() for c in inner),
]


@pytest.mark.parametrize("name", NAMES)
def test_h_prints_the_help_with_an_example(name, capsys):
    assert main([*name.split(), "-h"]) == 0
    said = capsys.readouterr().out
    if name not in GROUPS:
        assert f"Example: {EXAMPLES[name].split()[0]}" in said


@pytest.mark.parametrize("example", EXAMPLES.values())
def test_every_example_parses(example, parse):
    parse(example.split()[1:])


def test_every_command_is_in_one_section_of_the_help(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{title}:" in said for title in SECTIONS)
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted([*COMMANDS, *GROUPS])
    assert EXAMPLES.keys() == {name for name in NAMES if name not in GROUPS}


LISTED = {
    "TARGETS": ["student", *table.TARGETS],
    "FORMATS": BACKENDS,
    "FORMS": FORMS,
    "CHIPS": [*CHIPS, *MICROCONTROLLERS],
    "KERNELS": get_args(Kernels),
    "CAPABILITIES": REMEDIES,
    "COST_TABLES": TABLES,
    "PRESETS": PRESETS,
    "METHODS": METHODS,
    "LOSSES": LOSSES,
    "PRIORS": PRIORS,
    "ARCHITECTURES": ARCHITECTURES,
}


@pytest.mark.parametrize("name", LISTED)
def test_the_values_in_the_help_are_those_that_there_are(name):
    assert sorted(getattr(options, name)) == sorted(LISTED[name])


def test_the_shell_completes_commands_options_and_values():
    environment = {
        **os.environ,
        "_STARS_COMPLETE": "complete_bash",
        "COMP_WORDS": "stars check x --chip loi",
        "COMP_CWORD": "4",
    }
    done = process(stdout=subprocess.PIPE, env=environment)
    assert done.stdout.split() == [b"loihi1", b"loihi2"], done.stderr
    options_ = typer.main.get_command(build_app()).params
    assert "--show-completion" in {name for one in options_ for name in one.opts}
