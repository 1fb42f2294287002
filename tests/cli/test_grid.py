"""A table keeps every number and every word, whatever the width."""

import re

import pytest
from rich.console import Console

from cli.grid import Grid

NUMBERS = ["4,678,513,664", "1,167,760,000", "0"]


@pytest.mark.parametrize("width", [40, 60, 80, 110, 200])
def test_no_number_is_cut_and_no_name_becomes_another(width, capsys):
    names = [f"stage{i}.block{i}.activation_of_the_second_path" for i in (1, 2)]
    words = "several words about it that need more than one line"
    rows = [(name, *NUMBERS, words) for name in names]
    grid = Grid(("layer", *["a rather long title"] * 3, "notes"), rows, texts=[4])
    Console(width=width).print(grid)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= max(width, len(names[0]))
    assert all(out.count(number) >= 2 for number in NUMBERS)
    assert "…" not in out
    assert all(out.count(word) >= 2 for word in words.split())
    joined = re.sub(r"[\s│]", "", out)
    assert all(f"block{i}" in joined for i in (1, 2))
