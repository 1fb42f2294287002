"""`stars check`: exit code, JSON, text, and a file of limits of one's own."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from export.to_nir import write
from stars.testing.random_graphs import random_graph


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(random_graph(np.random.default_rng(5), kind="vgg"), tmp_path / "net.nir")
    return tmp_path / "net.nir"


def test_a_network_that_fits_exits_with_0(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["check", str(file), "--chip", "loihi2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "stars.check/1"
    assert report["ok"] is True
    assert report["violations"] == []
    assert report["cores"] == len(report["placement"]) == 4
    assert report["chips"] == 1
    assert sum(core["neurons"] for core in report["placement"]) == report["neurons"]


def test_one_that_does_not_exits_with_4_and_names_node_value_limit_and_source(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["check", str(file), "--chip", "loihi1", "--json"]) == 4
    streams = capsys.readouterr()
    (violation,) = json.loads(streams.out)["violations"]
    assert violation["node"] == "input"
    assert (violation["limit"], violation["value"], violation["allowed"]) == (
        "input_bits",
        7,
        1,
    )
    assert "Davies et al. 2018" in violation["source"]
    assert "node 'input': input_bits is 7, at most 1" in streams.err


def test_the_text_has_layers_cores_and_what_was_not_checked(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    assert main(["check", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "Loihi 2, Intel 4: it fits; it needs with every synapse stored 1 chip (4 cores)"
    )
    assert "tertiary" in text
    assert "not checked, because no figure is published: input_axons_per_core" in text


def test_limits_of_ones_own(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    text = (files("targets.hardware.limits") / "loihi2.toml").read_text("utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("value = 8192", "value = 100"), encoding="utf-8")
    assert main(["check", str(file), "--limits", str(mine), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["limits"]["compartments_per_core"]["value"] == 100
    assert report["cores"] > 4
    assert main(["check", str(file), "--limits", str(tmp_path / "none.toml")]) == 2


def test_a_microcontroller_is_checked_for_flash_ram_and_operations(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    assert main(["check", str(file), "--chip", "cortex-m7"]) == 0
    text = capsys.readouterr().out
    assert "ST STM32H7A3xG: it fits" in text
    assert "of 1,048,576 bytes" in text
    assert "at one operation a cycle" in " ".join(text.split())
    limits = files("targets.hardware.limits") / "rp2040.toml"
    small = tmp_path / "small.toml"
    small.write_text(limits.read_text().replace("value = 270336", "value = 1000"))
    assert main(["check", str(file), "--limits", str(small), "--json"]) == 4
    streams = capsys.readouterr()
    (violation,) = json.loads(streams.out)["violations"]
    assert (violation["limit"], violation["allowed"]) == ("ram_bytes", 1000)
    assert "the network needs ram_bytes" in streams.err
