"""JSON and TOML of strangers: read, or one ValueError."""

from __future__ import annotations

import pytest

from stars.files.json_toml import DEEPEST, parse_json, parse_toml


@pytest.mark.parametrize("text", ["", "{", "[1", "1" * 5000, "[" * 100_000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a = ",
        "a = " + "1" * 5000,
        "a = " + "[" * 100_000,
        "[" + "a." * 9999 + "b]",
    ],
)
def test_what_is_no_toml_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_toml(text)


def test_values_are_nested_so_deep_and_no_deeper():
    text = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(text)
    assert parse_toml(f"a = {text[1:-1]}")
    with pytest.raises(ValueError, match="nested more than 50 levels deep"):
        parse_json(f"[{text}]")
    with pytest.raises(ValueError, match="nested more than 50 levels deep"):
        parse_toml(f"a = {text}")
