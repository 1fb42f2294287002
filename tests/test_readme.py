"""The README promises commands; each must parse, and each make target must exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
LINES = [
    line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines()
]
STARS_LINES = [line for line in LINES if line.startswith("stars ")]


def test_the_readme_has_commands() -> None:
    assert STARS_LINES


@pytest.mark.parametrize("line", STARS_LINES)
def test_every_command_in_the_readme_parses(
    line: str, parse: Callable[[list[str]], None]
) -> None:
    parse(shlex.split(line)[1:])


def test_the_energies_of_the_readme_are_those_of_the_table_of_the_same_run() -> None:
    """Its range, and its ratios to the quantized network, from energy.md's rows."""
    text = (ROOT / "docs" / "concepts" / "energy.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in text.partition("### The demo's student")[2].splitlines()
        if line.startswith("| `")
    ]
    energy = {row[0]: row[1] for row in rows}
    ratios = {row[0]: joules(row[1]) / joules(row[5]) for row in rows if row[5]}
    said = " ".join(README.partition("**Energy:**")[2].split())
    low, high, *shares = re.findall(r"[\d.]+ [nm]J|[\d.]+(?=x )", said)[:5]
    assert (low, high) == (energy["horowitz45-int8"], energy["spinnaker2"])
    found = [ratios[name] for name in ("horowitz45-int8", "lemaire45", "yan22")]
    assert [float(share) for share in shares] == pytest.approx(found, abs=0.01)


def joules(text: str) -> float:
    """The value of a text such as "259 nJ"."""
    number, unit = text.split()
    return float(number) * {"nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3}[unit]


def test_the_parser_under_test_refuses_what_does_not_exist(
    parse: Callable[[list[str]], None],
) -> None:
    with pytest.raises(Exception, match="no-such-option"):
        parse(["doctor", "--no-such-option"])


def test_the_first_two_commands_are_the_demo_and_the_tests() -> None:
    assert [line for line in LINES if line][:2] == ["make demo", "make test"]


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)", " ".join(LINES)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
