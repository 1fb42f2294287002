"""Firing rates from a file of their own, or from a parity report."""

import json

import pytest

from export.c.rates import read_rates
from stars.errors import DataError


@pytest.mark.parametrize(
    "content", [{"lif": 0.25}, {"ok": True, "rates": {"lif": 0.25}}]
)
def test_both_forms_are_read(content, tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps(content))
    assert read_rates(path) == {"lif": 0.25}


@pytest.mark.parametrize("text", ["", "[1]", '{"lif": "loud"}', '{"lif": null}', "{"])
def test_anything_else_is_refused(text, tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected a JSON object of numbers by layer"):
        read_rates(path)
    with pytest.raises(DataError, match="nowhere"):
        read_rates(tmp_path / "nowhere.json")
